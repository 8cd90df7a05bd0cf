"""A search as it was asked for: the space, the place of the run, and the resources of its workers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tune_lb.results.storage import Store
from tune_lb.search.job import MemberKey
from tune_lb.space.sources import Source
from tune_lb.space.space import Space
from tune_lb.tuning.resources import Node, Resources, resources_of, this_machine

RAY_START_S = 8.0
"""What starting Ray and its workers takes, about, in seconds."""

MEMBERS_PER_JOB = 32
"""Most members of a job."""

AUTO = "auto"
"""Of GPUs for a worker: the share that its largest member needs."""

JOB_S = 3.0
"""Work that a job is to hold, in seconds of one worker."""


@dataclass(frozen=True)
class Request:
    """A search as it was asked for."""

    space: Space
    name: str
    run: Store
    """The run's folder."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    """Modules of the user that must travel to the workers by value."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """The same, and all that they may import later, as text."""
    imports: tuple[str, ...] = ()
    """Top-level modules of others that they import: workers must have them."""
    address: str | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | str | None = None
    """A number; "auto": the share that the largest member needs, measured; None: one where there are any."""
    max_concurrent: int | None = None
    silence_s: float | None = None
    """How long a worker may give no sign of life, in seconds; None: by what its job was timed to take."""
    only: Collection[MemberKey] | None = None
    """The members, (trial_id, seed), that may be trained; None: all."""
    deadline_s: float | None = None
    """When the search is to end, by time.monotonic(); None: when it is done."""
    fresh: bool = False
    accept_code_change: bool = False
    """Train anew what changed code concerns; without it a changed function of the user's is refused."""


def resource_problems(request: Request) -> list[str]:
    """Say which resources are no amounts, or more than this machine has."""
    problems = []
    for name in ("cpus_per_trial", "gpus_per_trial"):
        value = getattr(request, name)
        if isinstance(value, str):
            continue
        if (value is not None and value < 0) or (name == "cpus_per_trial" and value == 0):
            problems.append(f"--{name.replace('_', '-')} {value:g}: must be above 0")
    if request.max_concurrent is not None and request.max_concurrent < 1:
        problems.append(f"--max-concurrent {request.max_concurrent}: must be at least 1")
    if request.gpus_per_trial == AUTO and not torch.cuda.is_available():
        problems.append(
            "--gpus-per-trial auto: it is measured on a GPU of the machine that gives the command, and torch can use none here; "
            "give a number, as 0.5, or leave it out"
        )
    gpus = 0.0 if isinstance(request.gpus_per_trial, str) else request.gpus_per_trial or 0.0
    if request.address is None and gpus > torch.cuda.device_count():
        problems.append(f"--gpus-per-trial {gpus:g}: this machine has {torch.cuda.device_count()} usable by torch")
    return problems


def workers(request: Request, nodes: Sequence[Node]) -> Resources:
    """Return what each worker of a search gets on these nodes, and how many there are. Raises RequestError for none."""
    return resources_of(
        nodes,
        cpus=request.cpus_per_trial,
        # measured later: at most a whole one
        gpus=1.0 if isinstance(request.gpus_per_trial, str) else request.gpus_per_trial,
        max_concurrent=request.max_concurrent,
        may_grow=request.address is not None,
    )


def cpus_here(request: Request) -> float | None:
    """Return how many CPUs of this machine the workers of a search take; None where the share of a GPU is measured later."""
    if isinstance(request.gpus_per_trial, str):
        return None
    found = workers(request, this_machine())
    return found.cpus * found.concurrency

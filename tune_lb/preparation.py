"""Preparation: everything about a search that can be checked, decided and costed before a worker starts."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tune_lb.cell import Split
from tune_lb.changes import refuse_changed
from tune_lb.context import Context, make_context
from tune_lb.data.dataset import DataSet
from tune_lb.data.device import on_device
from tune_lb.errors import RequestError
from tune_lb.estimate import Estimate, estimate, num_members, typical_trials
from tune_lb.execution import choose_execution
from tune_lb.fit import check_against_data
from tune_lb.leftovers import delete_left_over
from tune_lb.microbatches import asked_problems
from tune_lb.resources import Node, Resources, resources_of, this_machine
from tune_lb.results import SCHEMA_VERSION, Merger, encode_predictions, read_space, write_space, write_targets
from tune_lb.sources import Source
from tune_lb.space import ArmDesign, Space
from tune_lb.storage import Store

RAY_START_S = 8.0
ARM = "(arm)"
"""Stands for the arms that a mistake concerns until all are known."""


def members_per_job() -> int:
    """Return how many members of a trial one worker takes at a time.

    Small jobs keep every worker busy to the end; a GPU is not filled by a few members, which are cheaper together there.
    """
    return 8 if torch.cuda.is_available() else 4


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
    address: str | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    max_concurrent: int | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Stored:
    """What earlier calls left."""

    scored: dict[tuple[str, int], float]
    """Validation errors of the members that are there already."""
    failed: list[str]
    """Files of jobs that failed, to be deleted: their members are trained again."""
    left_out: list[str]
    """One line per result file that cannot be used: its members are trained again."""


@dataclass(frozen=True)
class Prepared:
    """A search that can start."""

    request: Request
    designs: list[ArmDesign]
    context: Context
    splits: dict[int, Split]
    estimate: Estimate
    stored: Stored


def prepare(request: Request, *, write: bool = True, nodes: Callable[[], Sequence[Node]] = this_machine) -> Prepared:
    """Check the request whole and decide what is left open. Raises RequestError with every problem found.

    write: without it nothing is changed in the storage. nodes: asks for the machines that will do the work.
    """
    space = request.space
    designs = space.designs()
    data, problems = _load(space)
    for split_seed, loaded in data.items():
        problems += _check(designs, loaded, space.microbatch) if split_seed == min(data) else []
    problems += _selection_problems(designs, next(iter(data.values()), None))
    resources, own = None, _check_resources(request)
    try:
        # a wrong number is one mistake, not two
        resources = None if own else workers(request, nodes())
    except RequestError as error:
        own = error.problems
    problems += own
    if problems or resources is None:
        raise RequestError(dict.fromkeys(problems))
    started_s = request.run.check_writable()
    known = None if request.fresh else _known(request)
    if known is not None:
        refuse_changed(request.name, known["resolved"], space.description())
    if write and request.fresh:
        request.run.delete_all()
    elif write:
        delete_left_over(request.run, started_s)
    splits = {seed: Split(loaded.fingerprint(), len(loaded.validation.targets)) for seed, loaded in data.items()}
    on_gpu = torch.cuda.is_available() and request.gpus_per_trial != 0
    parts = on_device(next(iter(data.values())), "cuda" if on_gpu else "cpu")
    trials = typical_trials(space, designs)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(request.cpus_per_trial or 1)))
    try:
        num_train = len(parts.train.targets)
        execution = choose_execution(
            space,
            designs,
            trials,
            parts,
            members=min(space.seeds, members_per_job()),
            updates={d.name: num_members(space, d) * trials[d.name].plan(num_train).num_updates for d in designs},
            processes=resources.concurrency,
            known=None if known is None else known["execution"],
        )
        context = make_context(request.name, request.run, space, designs, data, execution.ways)
        stored = Stored({}, [], []) if request.fresh else _stored(request, context)
        cost = estimate(
            space,
            designs,
            parts,
            execution.seconds,
            concurrency=resources.concurrency,
            start_s=RAY_START_S,
            already_done=len(stored.scored),
            notes=execution.notes,
        )
    finally:
        torch.set_num_threads(threads)
    prepared = Prepared(request, designs, context, splits, cost, stored)
    if write:
        write_space(request.run, description(prepared))
        write_targets(
            request.run,
            {seed: encode_predictions(d.test.targets, d.num_classes) for seed, d in data.items()},
        )
    return prepared


def description(prepared: Prepared, selected: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, Any]:
    """Return space.json: what was asked, and what it was resolved to."""
    request, space, context = prepared.request, prepared.request.space, prepared.context
    first = next(iter(context.data.values()))
    return {
        "schema_version": SCHEMA_VERSION,
        "name": request.name,
        "question": space.question,
        "hash": context.space_hash,
        "asked": dict(request.asked),
        "resolved": space.description(),
        "written_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "baseline": space.baseline,
        "reference": space.reference,
        "placebo": next((d.name for d in prepared.designs if d.role == "placebo"), None),
        "arms": [_arm(design, space, len(first.train.targets)) for design in prepared.designs],
        "split_seeds": list(space.split_seeds),
        "seeds": space.seeds,
        "rescreen_seeds": space.rescreen_seeds,
        "confirm_seeds": space.confirm_seeds,
        "sampler": space.sampler,
        "scheduler": None,
        "metrics": [metric.name for metric in space.metrics],
        "data": {
            "name": first.name,
            "num_train": len(first.train.targets),
            "num_validation": len(first.validation.targets),
            "num_test": len(first.test.targets),
            "num_classes": first.num_classes,
            "own_test_split": space.data.has_own_test_split(),
            "fingerprints": {str(seed): split.fingerprint for seed, split in prepared.splits.items()},
        },
        "execution": dict(context.execution),
        "selected": dict(selected or {}),
    }


def _arm(design: ArmDesign, space: Space, num_train: int) -> dict[str, Any]:
    return {
        "name": design.name,
        "role": design.role,
        "batch_size": design.template.batch_size,
        "remedies": [remedy.module_name() for remedy in design.template.remedies],
        "dimensions": {name: domain.as_json() for name, domain in design.dimensions.items()},
        "num_samples": design.num_samples,
        "cost": design.template.evaluations_per_update,
        "shares_points": design.shares_points,
        "matched_by": design.matched_by,
        "combines": list(design.combines),
    }


def _load(space: Space) -> tuple[dict[int, DataSet], list[str]]:
    data: dict[int, DataSet] = {}
    problems: list[str] = []
    for split_seed in space.split_seeds:
        try:
            data[split_seed] = space.data.load(split_seed)
        except RequestError as error:
            problems += error.problems
            break
    return data, problems


def _check(designs: Sequence[ArmDesign], data: DataSet, microbatch: int | str | None = None) -> list[str]:
    """Check every arm at each end of each of its domains, the others at their first value."""
    concerned: dict[str, list[str]] = {}
    for design in designs:
        first = {name: domain.ends()[0] for name, domain in design.dimensions.items()}
        tried = [first] + [
            first | {name: end} for name, domain in design.dimensions.items() for end in domain.ends()[1:]
        ]
        for values in tried:
            trial = design.template.resolved(values)
            for problem in check_against_data(trial, data, where=ARM) or asked_problems(trial, data, microbatch, ARM):
                concerned.setdefault(problem, []).append(repr(design.name))
    # a mistake that several arms share is one mistake
    return [problem.replace(ARM, _named(set(names), names, len(designs)), 1) for problem, names in concerned.items()]


def _named(different: set[str], names: list[str], num_arms: int) -> str:
    if len(different) == num_arms > 1:
        return "every arm"
    return f"arm{'s' * (len(different) > 1)} {', '.join(dict.fromkeys(names))}"


def _selection_problems(designs: Iterable[ArmDesign], data: DataSet | None) -> list[str]:
    """Say where something is searched, and the data hold no examples by which it could be selected."""
    searched = [repr(design.name) for design in designs if design.dimensions and design.num_samples > 1]
    if data is None or len(data.validation.targets) or not searched:
        return []
    return [
        f"{data.name}: the validation part is empty, so nothing can be selected in what is searched ({', '.join(searched)}): "
        "give the data num_validation, or every field one value"
    ]


def _check_resources(request: Request) -> list[str]:
    problems = []
    for name in ("cpus_per_trial", "gpus_per_trial"):
        value = getattr(request, name)
        if (value is not None and value < 0) or (name == "cpus_per_trial" and value == 0):
            problems.append(f"--{name.replace('_', '-')} {value:g}: must be above 0")
    if request.max_concurrent is not None and request.max_concurrent < 1:
        problems.append(f"--max-concurrent {request.max_concurrent}: must be at least 1")
    gpus = request.gpus_per_trial or 0
    if request.address is None and gpus > torch.cuda.device_count():
        problems.append(f"--gpus-per-trial {gpus:g}: this machine has {torch.cuda.device_count()} usable by torch")
    return problems


def workers(request: Request, nodes: Sequence[Node]) -> Resources:
    """Return what each worker of a search gets on these nodes, and how many there are. Raises RequestError for none."""
    return resources_of(
        nodes,
        cpus=request.cpus_per_trial,
        gpus=request.gpus_per_trial,
        max_concurrent=request.max_concurrent,
        may_grow=request.address is not None,
    )


def _known(request: Request) -> dict[str, Any] | None:
    return read_space(request.run) if request.run.exists("space.json") else None


def _stored(request: Request, context: Context) -> Stored:
    merger = Merger(request.run, context.schema())
    merger.add_new()
    rows = merger.table().select(["trial_id", "seed", "status", "validation_error"]).to_pylist()
    scored = {
        # without a validation part nothing is selected: any finite score will do
        (row["trial_id"], row["seed"]): 0.0 if row["validation_error"] is None else row["validation_error"]
        for row in rows
        if row["status"] in ("completed", "diverged", "stopped")
    }
    failed = {(row["trial_id"], row["seed"]) for row in rows} - scored.keys()
    names = request.run.child("trials").list(suffix=".parquet") if failed else []
    again = [name for name in names if (members := members_of(name)) and members <= failed]
    return Stored(scored, again, merger.problems)


def members_of(file_name: str) -> set[tuple[str, int]]:
    """Return the members (trial_id, seed) that a trial's file is about, from its name; none for another file."""
    match = re.fullmatch(r"(\w+)\.\w+\.(\d+)-(\d+)\.\w+\.parquet", file_name)
    return {(match[1], seed) for seed in range(int(match[2]), int(match[3]) + 1)} if match else set()

"""The text of a new space: two arms to compare, the remedies that fit in arms of their own, the others as comments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from tune_lb.cli.remedies import remedy_classes
from tune_lb.data.dataset import DataSet
from tune_lb.errors import RequestError, user_code
from tune_lb.settings.active import ends
from tune_lb.settings.domain import Choice, Domain, Interval, over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.remedy import Remedy

ACTIVE = ("warmup", "sam", "ghost_batch_norm", "gradient_noise", "label_smoothing", "ema")
"""Remedies that a new space begins with, where they fit the network and the data."""


class Part(NamedTuple):
    """A part of a space as text: how it is imported, the expression, and what is defined for it."""

    line: str
    expression: str
    definition: str = ""


class NewArm(NamedTuple):
    """An arm as text. reason: why it is a comment; empty where it is none."""

    name: str
    kind: str
    code: str
    reason: str


class Asked(NamedTuple):
    """What a space is made of: data, network, and the small and the large batch."""

    data: Part
    model: Part
    small: int
    large: int


def fitted_arms(space: Space, data: DataSet, batch_size: int) -> list[NewArm]:
    """Return an arm for every remedy that has ranges to begin with. Raises RequestError where the plain arms do not fit."""
    plain = [problem for arm in ("small_batch", "large_batch") for problem in problems(space, arm, data)]
    if plain:
        raise RequestError(dict.fromkeys(plain))
    found = []
    for kind in remedy_classes():
        ranges: dict[str, Any] = dict(kind.suggested())
        for field, domain in ranges.items():
            if isinstance(domain, Choice):
                # of the listed values those that fit the batch and the network
                firsts = {name: other.to_check()[0] for name, other in ranges.items()}
                kept = [
                    v for v in domain.values if not _misfits(space, kind(**(firsts | {field: v})), data, batch_size)
                ]
                ranges[field] = over(kept) if kept else domain
        if not ranges:
            continue
        arm = kind(**ranges)
        misfits = _misfits(space, arm, data, batch_size)
        reason = misfits[0] if misfits else "" if kind.name in ACTIVE else "not among those to begin with"
        given = ", ".join(f"{field}={code(domain)}" for field, domain in ranges.items())
        found.append(NewArm(kind.name, kind.__name__, f"{kind.__name__}({given})", reason))
    return sorted(found, key=lambda arm: (bool(arm.reason), ACTIVE.index(arm.name) if arm.name in ACTIVE else 99))


def problems(space: Space, arm: str, data: DataSet) -> list[str]:
    """Return what is wrong with an arm on the data, at each end of its ranges."""
    try:
        design = next(design for design in checked_designs(space) if design.name == arm)
        found: list[str] = []
        with user_code(f"arm {arm!r}", made_by=space.model):
            for values in ends(design.dimensions):
                found += check_against_data(design.template.resolved(values), data)
        return found
    except RequestError as error:
        return error.problems


def code(domain: Domain) -> str:
    """Return a domain as it is written in a space."""
    if isinstance(domain, Interval):
        flags = "".join(f", {name}=True" for name in ("log", "integer") if getattr(domain, name))
        return f"over({domain.low!r}, {domain.high!r}{flags})"
    return f"over({list(domain.values)!r})"


def space_text(asked: Asked, arms: Sequence[NewArm], data: DataSet | None) -> str:
    """Return the file. data: what is known of them, where they are loaded."""
    kinds = sorted(arm.kind for arm in arms if not arm.reason)
    remedies = [f"from tune_lb.remedies import {', '.join(kinds)}"] if kinds else []
    lines = ["from tune_lb import Arm, Epochs, Space, over", "from tune_lb.optimizers import SGD", *remedies]
    return imports_of(asked, lines) + definition_of(asked) + TEXT.format(
        small=asked.small, large=asked.large, data=asked.data.expression, model=asked.model.expression, sizes=sizes_of(data),
        arms="".join(_line(arm) for arm in arms),
    )  # fmt: skip


def imports_of(asked: Asked, lines: Sequence[str]) -> str:
    """Return the import lines of a file: those given, and what data and network are imported by, in order."""
    parts = [asked.data.line, asked.model.line]
    ours = [line for line in parts if line.startswith("from tune_lb")]
    own = [line for line in parts if line not in ours]
    path = ["import sys", "from pathlib import Path", ""] if any("sys.path" in line for line in own) else []
    first, *rest = lines
    return "\n".join([*path, first, *ours, *rest, *([""] if own else []), *dict.fromkeys(own)]) + "\n"


def definition_of(asked: Asked) -> str:
    """Return what is defined for the network, nothing where it is imported as it is."""
    return f"\n\n{asked.model.definition}\n" if asked.model.definition else ""


def sizes_of(data: DataSet | None) -> str:
    """Return a comment on how many examples the parts have, nothing before they are loaded."""
    if data is None:
        return ""
    numbers = [len(part.targets) for part in (data.train, data.validation, data.test)]
    return f"  # {numbers[0]:,} to train on, {numbers[1]:,} to select by, {numbers[2]:,} to test"


TEXT = """
SPACE = Space(
    question="Batch {small} against {large}: which remedies bring the accuracy back?",
    data={data},{sizes}
    # a function of (shape of one input, number of classes) that returns a fresh network
    model={model},
    optimizer=SGD(momentum=0.9),
    # how long every member trains; Updates(1000) and UntilPlateau() are budgets as well
    budget=Epochs(20),
    # learning rate per example of the batch, searched in every arm; widen it where a selected value lies at an end
    eta_over_b=over(1e-5, 1e-2, log=True),
    batch_size={large},
    arms=(
        Arm("small_batch", batch_size={small}),
        Arm("large_batch"),
{arms}    ),
    baseline="small_batch",
    reference="large_batch",
    # configurations that each arm tries, one training each, the same number for every arm
    num_samples=16,
    # the best of them are decided between in fresh blocks: a cut of the data and a seed, the same for all arms
    candidates=3,
    decide_blocks=2,
    # fresh blocks of the one that was decided for: an arm's result; more of them, narrower intervals (--confirm-blocks 30)
    confirm_blocks=18,
    block_seeds=1,
    # measured in the first 8 blocks: "keskar", "trace" and others; see docs/metrics
    metrics=("lambda_max",),
)
"""


def _line(arm: NewArm) -> str:
    line = f"Arm({arm.name!r}, {arm.code}),".replace("'", '"')
    if not arm.reason:
        return f"        {line}\n"
    reason = "" if arm.reason.startswith("not among") else f"  # {' '.join(arm.reason.split())}"
    return f"        # {line}{reason}\n"


def _misfits(space: Space, remedy: Remedy, data: DataSet, batch_size: int) -> list[str]:
    arm = Arm("tried", remedy, batch_size=batch_size)
    tried = dataclasses.replace(space, arms=(*space.arms, arm))
    return [problem.removeprefix("arm 'tried': ") for problem in problems(tried, "tried", data)]

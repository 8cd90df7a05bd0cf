"""Which remedies can stand together in a trial."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from tune_lb.training.remedy import Nesting, Remedy, nested, overrides

SINGLE_HOOKS = {"batch_size": "set the size of the batch", "evaluated": "choose the weights that are evaluated"}
"""Hooks that one remedy of a trial may use: a second would undo the first."""


def combination_problems(remedies: Sequence[Remedy], taken_names: Collection[str]) -> list[str]:
    """Return why remedies cannot stand together in a trial. taken_names: those that a remedy may not have."""
    names = [remedy.name for remedy in remedies]
    taken = [
        f"{type(remedy).__name__}: its name, {remedy.name!r}, is that of a part of every trial; take another"
        for remedy in remedies
        if remedy.name in taken_names or re.fullmatch(r"(phase|group)\d+", remedy.name)
    ]
    found = taken + [f"remedy {name} is given twice" for name in sorted({n for n in names if names.count(n) > 1})]
    active = nested(remedies)
    found += [
        f"{one.name} and {other.name} {one.excludes[other.name]}; give one of them"
        for one in active
        for other in active
        if other.name in one.excludes
    ]
    points = sorted({r.name for r in remedies if r.nesting is Nesting.POINT})
    if len(points) > 1:
        found.append(f"{' and '.join(points)} each choose where the gradient is taken; together they are not defined")
    for hook, what in SINGLE_HOOKS.items():
        several = sorted({remedy.name for remedy in nested(remedies) if overrides(remedy, hook)})
        if len(several) > 1:
            found.append(f"{' and '.join(several)} each {what}; give one of them")
    return found

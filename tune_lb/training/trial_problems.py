"""What is wrong with a trial beside its own fields: in its parts, in lists of them, in what stands together."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from tune_lb.settings.identity import callable_problems, describe
from tune_lb.training.part_lists import LISTED, list_problems
from tune_lb.training.remedy import Remedy
from tune_lb.training.remedy_combinations import combination_problems

PARTS: Final = ("optimizer", "schedule", "budget", "data", "model", "loss", "initialization")
"""Fields of a trial that may be settings with fields of their own."""


def trial_problems(trial: Any, where: str) -> list[str]:
    """Return every mistake in the parts of a trial, and in how they stand together, a line each."""
    found: list[str] = []
    # names that a remedy may not have: those of a trial's fields and parts, and of the plan's numbers
    taken = {*PARTS, *(field.name for field in dataclasses.fields(trial)), "plan"}
    for prefix, part in trial.parts().items():
        found += part.problems(f"{where}: {prefix}")
    for prefix, part in trial.alternatives():
        found += part.problems(f"{where}: {prefix}")
        found += [
            f"{where}: {prefix}: {type(part).__name__}.{name} is searched inside a list; give it an arm of its own"
            for each in (
                *(() if prefix in LISTED or isinstance(part, Remedy) else (part,)),
                *getattr(part, "groups", ()),
            )
            for name in each.dimensions()
        ]
    found += [f"{where}{problem}" for problem in list_problems(trial, taken)]
    if trial.lr is not None and trial.eta_over_b is not None:
        found.append(f"{where}: lr and eta_over_b are both given; give one (lr = eta_over_b * batch_size)")
    if trial.lr is None and trial.eta_over_b is None:
        found.append(f"{where}: neither lr nor eta_over_b is given")
    for name in ("model", "loss", "initialization", "output", "error"):
        found += [f"{where}.{name}: {problem}" for problem in callable_problems(getattr(trial, name))]
    if not trial.remedy_lists:
        found += [f"{where}: {problem}" for problem in combination_problems(trial.remedies, taken)]
    for i, phase in enumerate(trial.phases, 1):
        remedies = [remedy for remedy in phase.remedies or () if isinstance(remedy, Remedy)]
        found += [f"{where}: phase{i}: {problem}" for problem in combination_problems(remedies, taken)]
    if trial.phases and getattr(trial.budget, "watches_loss", False):
        found.append(
            f"{where}.budget = {describe(trial.budget)}: after phases give a budget that is counted, as Epochs"
        )
    return found

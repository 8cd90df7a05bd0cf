"""Whether the arms of a space fit their data: each at every end of its domains."""

from __future__ import annotations

from collections.abc import Sequence

from tune_lb.data.dataset import DataSet
from tune_lb.errors import RequestError, user_code
from tune_lb.settings.active import ends
from tune_lb.space.designs import ArmDesign
from tune_lb.space.halving import Halving, look_problems
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.microbatches import asked_problems
from tune_lb.training.trial import Trial
from tune_lb.tuning.data_loading import LoadedData
from tune_lb.tuning.taking_checks import taking_problems

ARM = "(arm)"
"""Stands for the arms that a mistake concerns until all are known."""


def arm_problems(
    designs: Sequence[ArmDesign],
    data: LoadedData,
    microbatch: int | str | None = None,
    stopping: Halving | None = None,
) -> list[str]:
    """Check every arm on its data of the first split, at each end of each of its domains, the others at their first value."""
    split_seed = min(data.main)
    concerned: dict[str, list[str]] = {}
    for design in designs:
        for values in ends(design.dimensions):
            trial = design.template.resolved(values)
            own = data.of(trial)[split_seed]
            for problem in _problems(trial, own, microbatch) or _look_problems(stopping, design, trial, own):
                concerned.setdefault(problem, []).append(repr(design.name))
    # a mistake that several arms share is one mistake
    found = [problem.replace(ARM, _named(set(names), names, len(designs)), 1) for problem, names in concerned.items()]
    return found or taking_problems(designs, data)


def _problems(trial: Trial, data: DataSet, microbatch: int | str | None) -> list[str]:
    """Return what is wrong with a resolved trial on its data; what code of the user's raises there is a problem as well."""
    try:
        with user_code(ARM, made_by=trial.model):
            return check_against_data(trial, data, where=ARM) or asked_problems(trial, data, microbatch, ARM)
    except RequestError as error:
        return error.problems


def _look_problems(stopping: Halving | None, design: ArmDesign, trial: Trial, data: DataSet) -> list[str]:
    """Return why an arm's configurations could not be stopped early as asked."""
    searched = design.dimensions and design.derived_from is None and design.num_samples > 1
    if stopping is None or not searched:
        return []
    return [f"{ARM}: {problem}" for problem in look_problems(stopping, trial, len(data.train.targets))]


def _named(different: set[str], names: list[str], num_arms: int) -> str:
    if len(different) == num_arms > 1:
        return "every arm"
    return f"arm{'s' * (len(different) > 1)} {', '.join(dict.fromkeys(names))}"

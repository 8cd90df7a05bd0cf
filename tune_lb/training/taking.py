"""What a trial takes from other arms of its run, over all its parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tune_lb.errors import RequestError
from tune_lb.models.stored_weights import StoredWeights, copy_weights
from tune_lb.settings.domain import Choice
from tune_lb.settings.taken import Taken, TakesFromArm, TakesVariances
from tune_lb.training.remedy import Remedy
from tune_lb.training.trial import Trial

Form = tuple[Any, int]
"""Shape of one input, number of classes."""


def taken_by(trial: Trial) -> list[Taken]:
    """Return what a trial, or the template of an arm, takes from other arms: every alternative of what is searched included."""
    start: Any = trial.initialization
    starts = list(start.values) if isinstance(start, Choice) else [start]
    listed = [part for _, part in trial.alternatives() if isinstance(part, Remedy) and not part.is_neutral()]
    parts: list[TakesFromArm] = [part for part in (*starts, *trial.active, *listed) if isinstance(part, TakesFromArm)]
    return [taken for part in parts if (taken := part.takes()) is not None]


def taken_in_phases(trial: Trial) -> list[Taken]:
    """Return what remedies of its phases take: none may, since a phase counts no epochs of its own in what is kept."""
    remedies = [remedy for phase in trial.phases for remedy in phase.remedies or ()]
    return [t for r in remedies if isinstance(r, TakesFromArm) and (t := r.takes()) is not None]


def start_taken_from(trial: Trial) -> tuple[str, int] | None:
    """Return the arm that a resolved trial starts from, and the epochs after which; None where it starts by itself."""
    start = trial.initialization
    return (start.arm, start.epoch) if isinstance(start, StoredWeights) and start.arm else None


def starting_from(trial: Trial, path: str) -> Trial:
    """Return the trial with a file in place of the arm that it starts from."""
    return dataclasses.replace(trial, initialization=StoredWeights(path))


def variances_taken(trial: Trial) -> list[TakesVariances]:
    """Return the remedies of a trial that take variances from another arm."""
    return [remedy for remedy in trial.active if isinstance(remedy, TakesVariances) and remedy.takes() is not None]


def with_profiles(trial: Trial, measured: Callable[[TakesVariances], tuple[tuple[float, ...], ...]]) -> Trial:
    """Return the trial whose remedies have profiles in the place of the arms that they take them from."""
    asking = variances_taken(trial)
    found = [
        r.with_profile(measured(r)) if isinstance(r, TakesVariances) and r in asking else r for r in trial.remedies
    ]
    return dataclasses.replace(trial, remedies=tuple(found))


def trained_shapes(trial: Trial, form: Form) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters that a trial trains, by name and in order."""
    return {name: tuple(value.shape) for name, value in trial.network(*form).named_parameters() if value.requires_grad}


def network_problems(taker: Trial, form: Form, lender: Trial, lender_form: Form, where: str) -> list[str]:
    """Say where the weights of one trial's network do not fit into another's. form: shape of an input, number of classes."""
    if start_taken_from(taker) is None:
        return []
    module = lender.network(*lender_form)
    weights = {name: value.detach() for name, value in (*module.named_parameters(), *module.named_buffers())}
    plain = taker.plain_network(*form)
    needed = {name for name, _ in (*plain.named_parameters(), *plain.named_buffers())}
    try:
        copy_weights(weights, taker.network(*form), where, needed)
    except RequestError as error:
        return [line.replace("the file", f"arm {lender.arm!r}") for line in error.problems]
    return []

"""Early stopping inside each arm: successive halving of the configurations of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tune_lb.settings.setting import Settings, setting
from tune_lb.training.plan import Plan
from tune_lb.training.trial import Trial

MOST_LOOKS = 8


@dataclass(frozen=True)
class Halving(Settings):
    """Stop the worse configurations of each arm's search early: `Space(stopping=Halving(factor=2, grace=0.5))`.

    Looks come at the shares grace, grace * factor, grace * factor^2 ... of a training. At each the best 1/factor of the arm's
    configurations go on, never fewer than the `candidates` that are decided between; the others are stopped for good. They are
    ranked as the search ranks whole trainings (validation loss, or error where that selects), at the epoch end that they have
    reached: rates fall as in the whole training, of which a look sees the first part. Every arm is halved by itself and all its
    configurations are waited for, so what is stopped depends on no order of arrival and no other arm. Decide and confirm stages
    train in full.

    Source: Jamieson and Talwalkar, 2016 (successive halving). Cost: one pass over the validation examples (and over the train set
    where there is batch norm) for each look; a checkpoint of each configuration until its look is decided.
    Trap: a configuration that is slow at first and good at last is stopped (docs/budget.md has what that costs).
    """

    factor: float = setting(2.0, "of the configurations at a look, the best 1/factor go on", above=1.0)
    grace: float = setting(0.5, "share of a training before the first look", above=0.0, below=1.0)

    @property
    def looks(self) -> tuple[float, ...]:
        """Return the shares of a training after which it is looked."""
        found: list[float] = []
        share = self.grace
        while share < 1.0 - 1e-9 and len(found) < MOST_LOOKS:
            found.append(share)
            share *= self.factor
        return tuple(found)

    def going_on(self, number: int, candidates: int) -> tuple[int, ...]:
        """Return how many configurations go on after each look, of so many: floor(n / factor), at least `candidates`."""
        found = []
        for _ in self.looks:
            number = min(number, max(1, candidates, math.floor(number / self.factor + 1e-9)))
            found.append(number)
        return tuple(found)

    def trainings(self, number: int, candidates: int) -> float:
        """Return what so many configurations train in all, in whole trainings."""
        before, total = 0.0, 0.0
        for share, going_on in zip(self.looks, self.going_on(number, candidates), strict=True):
            total, before, number = total + number * (share - before), share, going_on
        return total + number * (1.0 - before)


def stopping_problems(stopping: object, objectives: Sequence[str], where: str) -> list[str]:
    """Return what is wrong with the stopping of a space."""
    if not isinstance(stopping, Halving):
        return []  # another type is said with the space's own fields
    found = stopping.problems(f"{where}.stopping")
    if objectives:
        found.append(
            f"{where}.stopping and {where}.objectives: configurations are stopped by validation loss, and one that was stopped has "
            "no objectives; leave one of the two out"
        )
    return found


def stops(trial: Trial, num_train: int) -> list[int]:
    """Return the updates after which a training can be looked at: ends of epochs, and of phases."""
    found, before = [], 0
    for phase in trial.in_phases():
        plan, step = phase.plan(num_train), 0
        while step < plan.num_updates:
            step = plan.next_stop(step, 1.0)
            found.append(before + step)
        before += plan.num_updates
    return found


def look_steps(stopping: Halving, trial: Trial, num_train: int) -> list[int | None]:
    """Return the updates after which a trial is looked at, None for a look that would only come at its end."""
    plan, at = trial.plan(num_train), stops(trial, num_train)
    firsts = (next(step for step in at if plan.reached(step, share)) for share in stopping.looks)
    return [step if step < plan.num_updates else None for step in firsts]


def look_problems(stopping: Halving, trial: Trial, num_train: int) -> list[str]:
    """Say why a resolved trial cannot be judged at the looks: before its warmup or phases are over, or twice at one epoch end."""
    if trial.budget.watches_loss:
        return [
            "stopping: a budget that watches the loss has no known length to look in; give one that is counted, as Epochs"
        ]
    plan, steps = trial.plan(num_train), look_steps(stopping, trial, num_train)
    known = [step for step in steps if step is not None]
    if len(known) < len(steps) or len(set(known)) < len(known):
        epochs = ", ".join(f"{share:.4g}" for share in stopping.looks)
        return [
            f"stopping: looks come at ends of epochs, and in {plan.num_epochs:g} epochs those after {epochs} of the training are "
            "not all different and before its end; train longer, or give fewer looks (a larger factor or grace)"
        ]
    own = trial.in_phases()[-1]
    last = own.plan(num_train)
    before = plan.boundaries[plan.num_updates - last.num_updates]
    reached, phases, opening = (
        examples / num_train for examples in (plan.boundaries[known[0]], before, before + _opening(own, last))
    )
    if reached > max(phases, opening):
        return []
    what = "phases are over (epoch" if reached <= phases else "warmup is over (epoch"
    return [
        f"stopping: the first look, after {stopping.grace:.4g} of the training (epoch {reached:.4g}), comes before its {what} "
        f"{max(phases, opening):.4g}); give a larger grace, as in Halving(grace={_enough(plan, max(phases, opening)):.2g})"
    ]


def _opening(trial: Trial, plan: Plan) -> float:
    """Return after how many examples a training without phases is past its opening: its warmup over, its schedule at its peak."""
    factors = [trial.schedule.factor(plan.position(step)) for step in range(plan.num_updates)]
    highest = max(factors) * (1.0 - 1e-9)
    risen = plan.boundaries[next(step for step, factor in enumerate(factors) if factor >= highest)]
    return max([float(risen), *(remedy.opening_epochs() * plan.num_train for remedy in trial.active)])


def _enough(plan: Plan, epochs: float) -> float:
    """Return a share of the training that is over so many epochs, to two digits."""
    return min(0.99, math.floor(100.0 * (epochs + 1.0) / plan.num_epochs + 1.0) / 100.0)

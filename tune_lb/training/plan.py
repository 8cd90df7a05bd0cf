"""The plan: facts that follow from a trial and the size of its train set."""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tune_lb.budgets import Budget
from tune_lb.schedules import Position


@dataclass(frozen=True)
class Plan:
    """The steps of a training, as counts of examples seen.

    boundaries: examples seen before each step and after the last one; step s draws boundaries[s + 1] - boundaries[s].
    batch_size: that of the trial, of which remedies may have departed.
    """

    num_train: int
    boundaries: Sequence[int]
    evaluations_per_update: float
    batch_size: int

    @property
    def num_updates(self) -> int:
        """Return the optimiser steps."""
        return len(self.boundaries) - 1

    @property
    def num_examples(self) -> int:
        """Return the examples drawn over the whole training."""
        return self.boundaries[-1]

    @property
    def batch_sizes(self) -> set[int]:
        """Return the numbers of examples that steps draw."""
        return {after - before for before, after in itertools.pairwise(self.boundaries)}

    @property
    def num_epochs(self) -> float:
        """Return the passes over the train set."""
        return self.num_examples / self.num_train

    @property
    def whole_epochs(self) -> int:
        """Return the passes over the train set that come to their end: one more update would go beyond the last."""
        last = self.boundaries[-1] - self.boundaries[-2]
        return math.ceil((self.boundaries[-1] + last) / self.num_train - 1e-9) - 1

    @property
    def gradient_evaluations(self) -> int:
        """Return the gradient evaluations of the whole training."""
        return round(self.num_updates * self.evaluations_per_update)

    def values(self) -> dict[str, float]:
        """Return the facts that reach the step as tensors in `batch.values`, beside the remedies' numbers."""
        return {"plan.num_train": float(self.num_train), "plan.num_updates": float(self.num_updates)}

    def position(self, step: int) -> Position:
        """Return where the step stands."""
        before, after = self.boundaries[step], self.boundaries[step + 1]
        return Position(step, after - before, before, after, self.num_examples, self.num_train)

    def next_stop(self, step: int, epochs: float) -> int:
        """Return the step of the next multiple of so many epochs, at least one update on."""
        unit = epochs * self.num_train
        following = self.boundaries[min(step + 1, self.num_updates)]
        return bisect.bisect_right(self.boundaries, math.ceil(following / unit - 1e-9) * unit + 1e-6) - 1

    def reached(self, step: int, share: float) -> bool:
        """Say whether so many updates are a share of the training: one more would go beyond it."""
        return step >= self.num_updates or self.boundaries[step + 1] > share * self.num_examples * (1 + 1e-12)

    def ends_epoch(self, step: int) -> bool:
        """Say whether the update after so many would go beyond the pass over the train set that they end in."""
        if step >= self.num_updates:
            return True
        seen, after = (math.ceil(examples / self.num_train - 1e-9) for examples in self.boundaries[step : step + 2])
        return after > seen


def joined(plans: Sequence[Plan]) -> Plan:
    """Return the plan of phases one after the other; an update of the whole costs what it does in the mean."""
    boundaries = [0]
    for plan in plans:
        before = boundaries[-1]
        boundaries += [before + after for after in plan.boundaries[1:]]
    cost = sum(plan.num_updates * plan.evaluations_per_update for plan in plans) / (len(boundaries) - 1)
    return Plan(plans[-1].num_train, tuple(boundaries), cost, plans[-1].batch_size)


@functools.lru_cache(maxsize=256)
def constant_boundaries(budget: Budget, num_train: int, batch_size: int, evaluations: float) -> Sequence[int]:
    """Return the boundaries of steps that all draw the same number of examples."""
    return walked_boundaries(budget, num_train, lambda examples: batch_size, evaluations)


def walked_boundaries(budget: Budget, num_train: int, batch_size: BatchSize, evaluations: float) -> Sequence[int]:
    """Return the boundaries of steps whose size depends on the examples seen: as many as the budget allows, at least one."""
    boundaries = [0, batch_size(0)]
    while True:
        after = boundaries[-1] + batch_size(boundaries[-1])
        updates = len(boundaries)
        if not budget.allows(updates, after, updates * evaluations, num_train):
            return tuple(boundaries)
        boundaries.append(after)


BatchSize = Callable[[int], int]
"""Examples seen so far -> examples in the next batch."""

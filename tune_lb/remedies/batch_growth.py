"""Growing batches: dynamic sampling, and batches that grow in place of a falling rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tune_lb.schedules import Position, Schedule
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.plan import BatchSize, Plan
from tune_lb.training.remedy import Remedy, TrialFacts


@dataclass(frozen=True)
class BatchGrowth(Remedy):
    """Begin with small batches and multiply their size every few epochs, up to the trial's own.

    b_k = min(B, round(initial factor^k)),  k = floor(e / (every N)),  e the examples seen before the step;
    rate(s) = schedule(s) (b_k / B)^power,  with decay also times factor^(-k).

    Source: Byrd et al., 2012 (dynamic sampling, as named by Keskar et al., 2017, section 5); Smith et al., 2018, section 3.
    Smith et al. is decay=True, power=1 and schedule=Constant(): eta_over_b initial stays the rate while the batch grows, and
    falls by the factor at each level once the batch is B. Another schedule than Constant is multiplied in.
    Departures: levels of equal length, each of which begins with the first step that starts in it; whole examples.
    power: 1 keeps the rate per example (linear scaling), 0.5 is square-root scaling, 0 keeps the rate.
    Neutral: initial = None.
    Cost: more updates than the large batch for as many examples; no more gradients per example.
    """

    name: ClassVar[str] = "batch_growth"

    initial: int | None = setting(
        None, "examples in the first batch; none: the trial's own throughout", low=1, suggested=over([16, 32, 64])
    )
    factor: float = setting(2.0, "growth of the batch from level to level", above=1.0, suggested=over(1.5, 5.0))
    every: float = setting(1.0, "length of a level, in epochs", above=0.0, suggested=over(1.0, 10.0))
    power: float = setting(1.0, "power of b / B in the rate", low=0.0, high=1.0, suggested=over([0.0, 0.5, 1.0]))
    decay: bool = setting(
        False, "the rate falls by the factor at each level, beside the batch", suggested=over([False, True])
    )

    def is_neutral(self) -> bool:
        """Without a first batch nothing grows."""
        return self.initial is None

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a first batch that is not smaller than the trial's, and what cannot be done with a batch on the way."""
        if self.initial is None:
            return []
        if self.initial >= trial.batch_size:
            return [f"batch_growth.initial = {self.initial} is not smaller than batch_size = {trial.batch_size}"]
        return other_batches(self, trial, num_train, module)

    def batch_size(self, inner: BatchSize, num_train: int) -> BatchSize:
        """Return the batch of the level, no larger than the trial's."""
        initial = self.initial

        def grown(examples: int) -> int:
            largest = inner(examples)
            if initial is None:
                return largest
            # in logarithms: after many levels the power is beyond the largest float
            growth = self._level(examples, num_train) * math.log(self.factor)
            if growth >= math.log(largest / initial):
                return largest
            return min(largest, round(initial * math.exp(growth)))

        return grown

    def schedule(self, inner: Schedule, plan: Plan) -> Schedule:
        """Return the schedule, scaled with the batch and, with decay, divided by the factor of every level gone."""
        scaled = rate_of_batch(inner, plan, self.power)
        if not self.decay:
            return scaled

        def decayed(position: Position) -> float:
            return scaled(position) * self.factor ** -self._level(position.examples, plan.num_train)

        return decayed

    def _level(self, examples: int, num_train: int) -> int:
        # 0.1 N is not always a whole number to the last digit
        return math.floor(examples / (self.every * num_train) + 1e-9)


def rate_of_batch(inner: Schedule, plan: Plan, power: float) -> Schedule:
    """Return the schedule times (b / B)^power, b the batch of the step and B that of the trial."""

    def scaled(position: Position) -> float:
        return inner(position) * math.pow(position.batch_size / plan.batch_size, power)

    return scaled


def other_batches(remedy: Remedy, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
    """Return what the other remedies refuse with a batch that this one brings about (a ghost size that does not divide it)."""
    sizes = sorted(trial.plan(num_train).batch_sizes - {trial.batch_size})
    found = []
    for size in sizes:
        of_size = trial.without(remedy.name, size)
        for other in of_size.active:
            found += [
                f"{remedy.name} trains with batches of {size}: {line}"
                for line in other.conflicts(of_size, num_train, module)
            ]
    return found

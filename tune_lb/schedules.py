"""Learning-rate schedules as pure functions of the position in training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tune_lb.remedy import Position
from tune_lb.setting import Settings, setting


@dataclass(frozen=True)
class ScheduleShape(Settings):
    """Base of all schedules: a factor on the peak rate."""

    def factor(self, position: Position) -> float:
        """Return the factor on the peak learning rate, in [0, 1]."""
        return 1.0


@dataclass(frozen=True)
class Constant(ScheduleShape):
    """The peak rate throughout."""


@dataclass(frozen=True)
class Cosine(ScheduleShape):
    """Half a cosine from the peak to a share of it: final + (1 - final) (1 + cos(pi x)) / 2, x the share of examples seen.

    Source: Loshchilov and Hutter, 2017, eq. 5, one cycle. x is counted before the step: the first step has the full rate.
    """

    final: float = setting(0.0, "rate at the end as a share of the peak", low=0.0, high=1.0)

    def factor(self, position: Position) -> float:
        """Return the factor at the examples seen before the step."""
        x = min(1.0, position.examples / position.total_examples)
        return self.final + (1.0 - self.final) * (1.0 + math.cos(math.pi * x)) / 2.0

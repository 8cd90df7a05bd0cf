"""Gradual warmup of the learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_lb.schedules import Position, Schedule
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.plan import Plan
from tune_lb.training.remedy import Remedy, TrialFacts


@dataclass(frozen=True)
class Warmup(Remedy):
    """Raise the learning rate in equal steps over the first epochs.

    rate(s) = schedule(s) min(1, (s + 1) / W),  W = epochs N / B the length in optimiser steps, s = 0, 1, ...

    Source: Goyal et al., 2017, section 2.2 (gradual warmup, per step). The factor multiplies the schedule, entered mid-way; it
    is counted in examples, so a batch that grows during warmup stays on the same line. Less than one step is no warmup.
    Neutral: epochs = 0.
    Cost: none.
    """

    name: ClassVar[str] = "warmup"

    epochs: float = setting(0.0, "length of the warmup, in epochs; 0 is none", low=0.0, suggested=over(1.0, 8.0))

    def opening_epochs(self) -> float:
        """Return the length of the warmup."""
        return self.epochs

    def length_problems(self, trial: TrialFacts, num_train: int) -> list[str]:
        """Refuse a warmup as long as the training: its full rate would never be used."""
        total = trial.plan(num_train).num_epochs
        if self.epochs >= total:
            return [
                f"warmup.epochs = {self.epochs:g} is not shorter than the training ({total:g} epochs); train longer, or make "
                f"it shorter (warmup.epochs=VALUE, or warmup.epochs='over(LOW, HIGH)' to search)"
            ]
        return []

    def schedule(self, inner: Schedule, plan: Plan) -> Schedule:
        """Return the schedule times the warmup factor."""
        length = self.epochs * plan.num_train

        def warmed(position: Position) -> float:
            return inner(position) * min(1.0, position.examples_after / length)

        return warmed

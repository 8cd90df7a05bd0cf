"""Warm start: a phase of small batches, then large ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tune_lb.remedies.batch_growth import other_batches, rate_of_batch
from tune_lb.schedules import Schedule
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.plan import BatchSize, Plan
from tune_lb.training.remedy import Remedy, TrialFacts


@dataclass(frozen=True)
class WarmStart(Remedy):
    """Train the first epochs with small batches, the others with the trial's own.

    b(e) = small if e < epochs N, else B,  e the examples seen before the step;  rate(s) = schedule(s) (b / B)^power.

    Source: Keskar et al., 2017, section 4, figure 5 ("piggyback": 100 epochs of batch 256, then a large batch from there).
    Departures: one training in one budget, so its optimiser and schedule go on across the change; the original
    starts anew, as `Arm(..., phases=(Phase(...),))` does.
    Where small does not divide epochs N, the last small batch reaches beyond it and the large ones begin after it.
    power: 1 keeps the rate per example (linear scaling), 0.5 is square-root scaling, 0 keeps the rate (the original, Adam).
    Neutral: epochs = 0.
    Cost: in the phase as many updates as the small batch takes; no more gradients per example.
    Trap: few warm epochs gained nothing in the original; more of them are simply small-batch training for that long.
    """

    name: ClassVar[str] = "warm_start"

    epochs: float = setting(0.0, "length of the phase, in epochs; 0 is none", low=0.0, suggested=over(0.5, 10.0))
    batch_size_before: int = setting(32, "examples per update in the phase", low=1, suggested=over([16, 32, 64, 128]))
    power: float = setting(
        1.0, "power of b / B in the rate of the phase", low=0.0, high=1.0, suggested=over([0.0, 0.5, 1.0])
    )

    def is_neutral(self) -> bool:
        """Without epochs there is no phase."""
        return self.epochs == 0

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a batch that is not smaller, and what cannot be done with that batch."""
        found = []
        name = f"warm_start.batch_size_before = {self.batch_size_before}"
        if self.batch_size_before >= trial.batch_size:
            found.append(f"{name} is not smaller than batch_size = {trial.batch_size}")
        return found or other_batches(self, trial, num_train, module)

    def opening_epochs(self) -> float:
        """Return the length of the phase."""
        return self.epochs

    def length_problems(self, trial: TrialFacts, num_train: int) -> list[str]:
        """Refuse a phase as long as the training."""
        total = trial.plan(num_train).num_epochs
        if self.epochs < total:
            return []
        return [f"warm_start.epochs = {self.epochs:g} is not shorter than the training ({total:g} epochs)"]

    def batch_size(self, inner: BatchSize, num_train: int) -> BatchSize:
        """Return the small batch until `epochs` passes were seen."""
        end = self.epochs * num_train

        def warm(examples: int) -> int:
            return self.batch_size_before if examples < end else inner(examples)

        return warm

    def schedule(self, inner: Schedule, plan: Plan) -> Schedule:
        """Return the schedule, scaled with the batch."""
        return rate_of_batch(inner, plan, self.power)

"""Scaling of the learning rate with the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.remedy import Remedy, TrialFacts


@dataclass(frozen=True)
class Scaling(Remedy):
    """Take `lr` as the rate of a base batch and scale it to the trial's.

    peak rate = lr (B / base_batch_size)^power;  power 1 is linear scaling, 0.5 square-root scaling, 0 none.

    Source: Goyal et al., 2017, section 2.1 (linear); Krizhevsky, 2014, and Hoffer, Hubara and Soudry, 2017 (square root, which
    keeps the covariance of one step). The columns lr, eta_over_b and noise_scale have the scaled rate.
    The base is a field of its own, apart from any ghost size. A batch that grows on the way has a power of its own
    (batch_growth.power). Adam's square-root rule of Malladi et al., 2022, also moves beta1, beta2 and eps: not done here.
    Neutral: base_batch_size = None. With eta_over_b the rate is linear in the batch already, so the two are refused together.
    Cost: none.
    """

    name: ClassVar[str] = "scaling"

    base_batch_size: int | None = setting(
        None, "batch whose rate lr is; none: that of the trial", low=1, suggested=over([32, 64, 128, 256])
    )
    power: float = setting(
        1.0, "power of B / base_batch_size in the rate", low=0.0, high=1.0, suggested=over([0.0, 0.5, 1.0])
    )

    def is_neutral(self) -> bool:
        """Without a base batch nothing is scaled."""
        return self.base_batch_size is None

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a rate that is given per example."""
        if self.base_batch_size is None or trial.eta_over_b is None:
            return []
        given = f"eta_over_b = {trial.eta_over_b:g} is linear in the batch already"
        return [f"scaling.base_batch_size = {self.base_batch_size}: {given}; give lr, the rate of the base batch"]

    def peak_rate(self, rate: float, batch_size: int) -> float:
        """Return the rate of the trial's batch."""
        if self.base_batch_size is None:
            return rate
        return float(rate * (batch_size / self.base_batch_size) ** self.power)

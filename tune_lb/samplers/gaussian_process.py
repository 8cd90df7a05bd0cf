"""Optuna's Gaussian process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_lb.samplers.sampler import Dimensions, Sampler
from tune_lb.samplers.study import StudyProposer
from tune_lb.settings.setting import setting


@dataclass(frozen=True)
class GaussianProcess(Sampler):
    """Optuna's Gaussian process with a Matern kernel (5/2) and the logarithm of the expected improvement, one for each arm.

    Scores are taken as noisy. Of several objectives it seeks the front by the expected gain of hypervolume. A proposal takes some
    tenths of a second, more with more scores: for members that take longer than that.
    """

    first: int = setting(10, "random proposals before it learns", low=1)

    name: ClassVar[str] = "gp"
    learns: ClassVar[bool] = True
    exchangeable: ClassVar[bool] = False
    several: ClassVar[bool] = True

    def proposer(self, dimensions: Dimensions) -> StudyProposer:
        """Return the arm's process."""
        import optuna

        def make(seed: int) -> optuna.samplers.BaseSampler:
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=self.first)

        return StudyProposer(dimensions, self.name, make)

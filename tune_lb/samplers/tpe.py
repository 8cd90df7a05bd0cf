"""Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_lb.samplers.sampler import Dimensions, Sampler
from tune_lb.samplers.study import StudyProposer


@dataclass(frozen=True)
class TPE(Sampler):
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011), one for each arm.

    It learns from the one search block. Its first ten proposals are random. Of several objectives it seeks the front by their
    hypervolume (Ozaki et al., 2022). Of configurations that were stopped early it is told as of Optuna's pruned trials, with
    the value at the last look: it takes them for worse than whole ones, and for the worse the earlier they were last seen.
    """

    name: ClassVar[str] = "tpe"
    learns: ClassVar[bool] = True
    exchangeable: ClassVar[bool] = False
    several: ClassVar[bool] = True
    knows_stopped: ClassVar[bool] = True
    conditional: ClassVar[bool] = True

    def proposer(self, dimensions: Dimensions) -> StudyProposer:
        """Return the arm's estimator."""
        import optuna

        return StudyProposer(dimensions, self.name, lambda seed: optuna.samplers.TPESampler(seed=seed))

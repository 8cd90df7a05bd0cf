"""Optuna's CMA-ES."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tune_lb.samplers.sampler import Dimensions, Sampler
from tune_lb.samplers.study import StudyProposer
from tune_lb.settings.domain import Choice, Domain


@dataclass(frozen=True)
class CMAES(Sampler):
    """Optuna's evolution strategy with covariance matrix adaptation (Hansen and Ostermeier, 2001), one for each arm.

    It moves a normal distribution over the ranges, 4 + 3 log d proposals at a time for d ranges, from the middle of them; values
    from lists are drawn at random, so an arm needs a range. Needs the package cmaes: pip install 'tune_lb[cmaes]'.
    """

    name: ClassVar[str] = "cmaes"
    learns: ClassVar[bool] = True
    exchangeable: ClassVar[bool] = False

    def proposer(self, dimensions: Dimensions) -> StudyProposer:
        """Return the arm's strategy."""
        import optuna

        def make(seed: int) -> optuna.samplers.BaseSampler:
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)

        return StudyProposer(dimensions, self.name, make, asked=True)

    def domain_problems(self, domains: Mapping[str, Domain]) -> list[str]:
        """Say that the package is missing, or that there is no range to move in."""
        if importlib.util.find_spec("cmaes") is None:
            return ["sampler cmaes needs the package cmaes: pip install 'tune_lb[cmaes]', or take another sampler"]
        if domains and all(isinstance(domain, Choice) for domain in domains.values()):
            return [f"sampler cmaes moves in ranges, and {', '.join(domains)} are lists; take tpe or grid"]
        return []

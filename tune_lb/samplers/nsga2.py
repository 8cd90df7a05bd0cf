"""Optuna's NSGA-II."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_lb.samplers.sampler import Dimensions, Sampler
from tune_lb.samplers.study import StudyProposer
from tune_lb.settings.setting import setting


@dataclass(frozen=True)
class NSGA2(Sampler):
    """Optuna's elitist genetic algorithm with non-dominated sorting (Deb et al., 2002), one for each arm; for several objectives.

    The first `population` proposals are random; from then on children of the best of all generations, by front and by distance from
    their neighbours on it. It needs many more configurations than a population: take it with num_samples of some hundred.
    """

    population: int = setting(16, "configurations of a generation", low=2)

    name: ClassVar[str] = "nsga2"
    learns: ClassVar[bool] = True
    exchangeable: ClassVar[bool] = False
    several: ClassVar[bool] = True

    def proposer(self, dimensions: Dimensions) -> StudyProposer:
        """Return the arm's population."""
        import optuna

        def make(seed: int) -> optuna.samplers.BaseSampler:
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=self.population)

        key = optuna.samplers.NSGAIISampler._get_generation_key()
        return StudyProposer(dimensions, self.name, make, generation=(key, self.population))

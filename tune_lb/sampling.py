"""Samplers: which configuration an arm tries next."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tune_lb.domain import Choice, Domain
from tune_lb.space import ArmDesign, Space
from tune_lb.streams import seed_of

Values = dict[str, Any]


class Sampler(Protocol):
    """Proposes configurations of one arm in one split; a pure function of how many came before and what they scored."""

    def propose(self, index: int, scored: Sequence[tuple[Values, float]]) -> Values:
        """Return values for the arm's dimensions: the index-th proposal, given the finished ones and their scores."""
        ...


class QuasiRandom:
    """Scrambled Sobol points (Owen, 1998) over the union of the arms' dimensions.

    Arms that share points read their own columns of the same sequence: in shared dimensions, configuration i of one arm is
    configuration i of every other, so a remedy without effect has an effect of exactly 0. More samples extend the sequence.
    """

    def __init__(
        self, dimensions: Mapping[str, Domain], columns: Sequence[str], seed: int, random: bool = False
    ) -> None:
        self.dimensions, self.columns, self.seed, self.random = dict(dimensions), list(columns), seed, random
        self._points: np.ndarray[Any, np.dtype[np.float64]] = np.empty((0, len(self.columns)))

    def propose(self, index: int, scored: Sequence[tuple[Values, float]]) -> Values:
        """Return the index-th point, read through the arm's domains."""
        if index >= len(self._points):
            power = max(4, math.ceil(math.log2(index + 1)))
            if self.random:
                self._points = np.random.default_rng(self.seed).random((2**power, len(self.columns)))
            else:
                # a second of import that workers, who propose nothing, do without
                from scipy.stats import qmc

                self._points = qmc.Sobol(len(self.columns), scramble=True, rng=self.seed).random_base2(power)
        point = dict(zip(self.columns, self._points[index], strict=True))
        return {name: domain.at(float(point[name])) for name, domain in self.dimensions.items()}


class Grid:
    """Every combination of the listed values, the last dimension fastest; it begins at proposal `first`."""

    def __init__(self, dimensions: Mapping[str, Domain], first: int = 0) -> None:
        self.names, self.first = list(dimensions), first
        self.rows = list(itertools.product(*(domain.ends() for domain in dimensions.values())))

    def propose(self, index: int, scored: Sequence[tuple[Values, float]]) -> Values:
        """Return the combination of the index-th proposal."""
        return dict(zip(self.names, self.rows[index - self.first], strict=True))


class TPE:
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011), one study per proposal, rebuilt from the scores.

    Rebuilding makes a proposal a function of what is stored, so a resumed search needs no pickled study.
    """

    def __init__(self, dimensions: Mapping[str, Domain], seed: int) -> None:
        self.dimensions, self.seed = dict(dimensions), seed

    def propose(self, index: int, scored: Sequence[tuple[Values, float]]) -> Values:
        """Return the point that TPE asks for after the scored ones."""
        import optuna
        from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        distributions: dict[str, BaseDistribution] = {}
        for name, domain in self.dimensions.items():
            if isinstance(domain, Choice):
                # by position: Optuna takes plain values only, and a choice may be between networks
                distributions[name] = CategoricalDistribution(range(len(domain.values)))
            elif domain.integer:
                distributions[name] = IntDistribution(int(domain.low), int(domain.high), log=domain.log)
            else:
                distributions[name] = FloatDistribution(domain.low, domain.high, log=domain.log)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed_of(self.seed, index) % 2**32))
        for values, score in scored:
            # a configuration combined from other arms may lie outside: its neutral values need not be in a range
            if all(_contains(domain, values.get(name)) for name, domain in self.dimensions.items()):
                study.add_trial(
                    optuna.trial.create_trial(
                        params=coded(self.dimensions, values), distributions=distributions, value=score
                    )
                )
        return decoded(self.dimensions, study.ask(distributions).params)


def coded(dimensions: Mapping[str, Domain], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of the dimensions as plain numbers: what is chosen from a list by its position there."""
    return {
        name: domain.values.index(values[name]) if isinstance(domain, Choice) else values[name]
        for name, domain in dimensions.items()
    }


def decoded(dimensions: Mapping[str, Domain], numbers: Mapping[str, Any]) -> Values:
    """Return the values that coded() made numbers of."""
    return {
        name: domain.values[numbers[name]] if isinstance(domain, Choice) else numbers[name]
        for name, domain in dimensions.items()
    }


def _contains(domain: Domain, value: Any) -> bool:
    if isinstance(domain, Choice):
        return value in domain.values
    return isinstance(value, int | float) and domain.low <= value <= domain.high


def samplers(space: Space, designs: Sequence[ArmDesign], split_seed: int) -> dict[str, Sampler]:
    """Return the sampler of every arm that is searched, for one split. All splits draw the same quasi-random points."""
    # by name, so that arms listed in another order draw the same points
    columns = sorted({name for design in designs for name in design.dimensions})
    found: dict[str, Sampler] = {}
    for design in designs:
        salt = "" if design.shares_points else design.name
        seed = seed_of("points", space.seed, salt) % 2**32
        if space.sampler == "grid":
            found[design.name] = Grid(design.dimensions, first=len(design.combines))
        elif space.sampler == "tpe" and design.dimensions:
            found[design.name] = TPE(design.dimensions, seed_of("tpe", space.seed, design.name, split_seed))
        else:
            found[design.name] = QuasiRandom(
                design.dimensions, columns or ["none"], seed, random=space.sampler == "random"
            )
    return found

"""Points spread evenly over the dimensions (Sobol), and points drawn at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tune_lb.samplers.sampler import Dimensions, Sampler, Scores, Values
from tune_lb.streams import seed_of

Points = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Sobol(Sampler):
    """Scrambled Sobol points (Owen, 1998) over the union of the arms' dimensions.

    Arms that share points read their own columns of the same sequence: in shared dimensions, configuration i of one arm is
    configuration i of every other, so a remedy without effect has an effect of exactly 0. More samples extend the sequence.
    """

    name: ClassVar[str] = "sobol"
    conditional: ClassVar[bool] = True

    def proposer(self, dimensions: Dimensions) -> SharedPoints:
        """Return the arm's reading of the points."""
        return SharedPoints(dimensions, self)

    def points(self, power: int, num_columns: int, seed: int) -> Points:
        """Return the first 2^power points, (2^power, num_columns), in [0, 1)."""
        # a second of import that workers, who propose nothing, do without
        from scipy.stats import qmc

        found: Points = qmc.Sobol(num_columns, scramble=True, rng=seed).random_base2(power)
        return found


@dataclass(frozen=True)
class Random(Sobol):
    """Independent uniform points, shared by the arms as Sobol points are."""

    name: ClassVar[str] = "random"

    def points(self, power: int, num_columns: int, seed: int) -> Points:
        """Return 2^power points, (2^power, num_columns), in [0, 1)."""
        return np.random.default_rng(seed).random((2**power, num_columns))


class SharedPoints:
    """Reads a sequence of points that all arms share through the domains of one of them."""

    def __init__(self, dimensions: Dimensions, sampler: Sobol) -> None:
        self.domains, self.sampler = dict(dimensions.domains), sampler
        self.columns = list(dimensions.columns) or ["none"]
        salt = "" if dimensions.shares_points else dimensions.arm
        self.seed = seed_of("points", dimensions.seed, salt) % 2**32
        self._points: Points = np.empty((0, len(self.columns)))

    def propose(self, index: int, scored: Sequence[tuple[Values, Scores]]) -> Values:
        """Return the index-th point, read through the arm's domains."""
        if index >= len(self._points):
            power = max(4, math.ceil(math.log2(index + 1)))
            self._points = self.sampler.points(power, len(self.columns), self.seed)
        point = dict(zip(self.columns, self._points[index], strict=True))
        return {name: domain.at(float(point[name])) for name, domain in self.domains.items()}

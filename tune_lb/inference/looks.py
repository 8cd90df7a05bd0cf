"""When a confirmation may stop: at a fixed width, or early by O'Brien and Fleming's boundaries."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from tune_lb.inference.effects import ALPHA, FloatArray, quantile
from tune_lb.inference.selection_variance import FREEDOM

FIRST_LOOK, BETWEEN_LOOKS = 10, 4
_GRID = 401


def looks(max_blocks: int, first: int = FIRST_LOOK, between: int = BETWEEN_LOOKS) -> list[int]:
    """Return the numbers of blocks after which it is looked: 10, 14, 18 ... and max_blocks, which is always the last."""
    return [*range(min(first, max_blocks), max_blocks, between), max_blocks]


def is_known(half_width: float, wanted: float, selection: float = 0.0, family: int = 1) -> bool:
    """Say whether an arm needs no more blocks: its interval's half-width is at most the wanted one, or never will be.

    A fixed width needs no correction for looking: whether it is reached depends on the spread, which says nothing of the
    mean. selection: V_a + V_ref, which more blocks do not lower; see `least_half_width`.
    """
    return half_width <= wanted or least_half_width(selection, family) >= wanted


def least_half_width(selection: float, family: int = 1) -> float:
    """Return the half-width with infinitely many blocks: t(1 - .025 / family, FREEDOM) sqrt(V_a + V_ref), as in `paired_t`."""
    return quantile(FREEDOM, family) * math.sqrt(selection)


def obrien_fleming(blocks: Sequence[int], alpha: float = ALPHA) -> FloatArray:
    """Return the two-sided significance level of each look at so many blocks, that of all together being alpha.

    O'Brien and Fleming (1979): |Z_k| >= c / sqrt(t_k), t_k = blocks_k / blocks_K, c such that a Brownian motion leaves
    (-c, c) at one of the looks with probability alpha. Compare the p-value of Student's t with the level (Pocock, 1977).
    blocks: increasing. Three equal steps: .0005, .0141, .0451. Raises ValueError where blocks do not increase.
    """
    times = np.asarray(blocks, dtype=np.float64) / blocks[-1]
    if times[0] <= 0 or np.any(np.diff(times) <= 0):
        raise ValueError(f"looks come after more and more blocks; these are {list(blocks)}")
    return np.asarray(2 * ndtr(-_bound(tuple(times.tolist()), alpha) / np.sqrt(times)))


@functools.cache
def _bound(times: tuple[float, ...], alpha: float) -> float:
    at = np.array(times)
    return float(brentq(lambda bound: _leaves(at, bound) - alpha, 0.5, 10.0, xtol=1e-6))


def _leaves(times: FloatArray, bound: float) -> float:
    """Return the probability that |W(t)| >= bound at one of the times."""
    grid, step = np.linspace(-bound, bound, _GRID, retstep=True)
    weights = np.full(_GRID, 2.0)
    weights[1::2] = 4.0
    weights[0] = weights[-1] = 1.0
    weights *= step / 3
    density = _normal(grid, times[0])
    for before, now in itertools.pairwise(times):
        density = _normal(grid[:, None] - grid, now - before) @ (weights * density)
    return float(1 - weights @ density)


def _normal(x: FloatArray, variance: float) -> FloatArray:
    return np.asarray(np.exp(-(x**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance))

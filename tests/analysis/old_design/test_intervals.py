from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.old_design.intervals import (
    between_split_variance,
    fieller,
    influence,
    paired_effect,
    percentile_effect,
    sign_flip,
    standard_error,
    t_interval,
    t_scale,
    welch_effect,
)
from tune_lb.inference.effects import holm

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(0.05, 0.004, 8), RNG.normal(0.045, 0.006, 8)


def test_t_interval_is_scipys() -> None:
    expected = stats.t.interval(0.95, 7, FIRST.mean(), stats.sem(FIRST))
    assert t_interval(np.append(FIRST, np.nan)) == pytest.approx(expected, rel=1e-12)


def test_one_value_has_no_interval() -> None:
    assert np.isnan(t_interval(FIRST[:1])).all()
    assert np.isnan(paired_effect(FIRST[None, :1], SECOND[None, :1]).low)


def test_paired_effect_is_the_paired_t_test() -> None:
    effect, expected = paired_effect(FIRST[None], SECOND[None]), stats.ttest_rel(FIRST, SECOND)
    low, high = expected.confidence_interval()
    assert effect == pytest.approx((np.mean(FIRST - SECOND), low, high, expected.pvalue), rel=1e-9)


def test_welch_effect_is_welchs_t_test() -> None:
    effect, expected = welch_effect(FIRST[None], SECOND[None]), stats.ttest_ind(FIRST, SECOND, equal_var=False)
    low, high = expected.confidence_interval()
    assert effect == pytest.approx((np.mean(FIRST) - np.mean(SECOND), low, high, expected.pvalue), rel=1e-9)


def test_a_seed_counts_once_over_splits() -> None:
    values = RNG.normal(size=(3, 8))
    mean, psi = influence(values)
    assert mean == pytest.approx(values.mean())
    assert standard_error(psi) == pytest.approx(stats.sem(values.mean(axis=0)))


def test_sign_flip_by_hand() -> None:
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
    # |sum| is 4 here and with all signs flipped, and 6 with the first or with the other two flipped.
    assert sign_flip(np.array([-1.0, 2.0, 3.0])) == pytest.approx(4 / 8)
    assert sign_flip(np.ones(5)) == pytest.approx(2 / 32)
    assert sign_flip(np.zeros(8)) == 1.0


def test_sign_flip_beyond_the_exact_range_stays_close_to_t() -> None:
    differences = RNG.normal(0.4, 1.0, 40)
    assert sign_flip(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)


def test_holm_by_hand() -> None:
    p = np.array([0.01, 0.04, 0.03, np.nan, 0.005])
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, np.nan, 0.02], nan_ok=True)


def test_fieller_against_its_closed_form() -> None:
    """Without covariance: (nd +- sqrt((nd)^2 - (n^2 - q^2 a)(d^2 - q^2 b))) / (d^2 - q^2 b)."""
    n, d, a, b, q = 1.0, 2.0, 0.04, 0.09, 1.96
    root = np.sqrt((n * d) ** 2 - (n**2 - q**2 * a) * (d**2 - q**2 * b))
    expected = ((n * d - root) / (d**2 - q**2 * b), (n * d + root) / (d**2 - q**2 * b))
    assert fieller(n, d, np.diag([a, b]), q) == pytest.approx(expected)


def test_fieller_ends_are_where_the_combination_is_at_the_quantile() -> None:
    covariance = np.array([[0.04, 0.03], [0.03, 0.05]])
    for r in fieller(1.0, 2.0, covariance, 1.96):
        variance = np.array([1.0, -r]) @ covariance @ np.array([1.0, -r])
        assert (1.0 - r * 2.0) ** 2 == pytest.approx(1.96**2 * variance)


def test_fieller_is_unknown_where_the_denominator_may_be_zero() -> None:
    assert np.isnan(fieller(1.0, 0.3, np.diag([0.04, 0.04]))).all()


def test_t_scale_makes_normal_draws_student() -> None:
    draws = RNG.standard_normal(200_000) * t_scale(RNG.random(200_000), 8)
    assert np.quantile(draws, 0.975) == pytest.approx(stats.t.ppf(0.975, 7), rel=0.02)


def test_between_split_variance_by_hand() -> None:
    """Equal variances v: tau^2 is the sample variance of the effects minus v, or 0."""
    effects, v = np.array([0.01, 0.03, 0.02]), 0.00004
    assert between_split_variance(effects, np.full(3, v)) == pytest.approx(effects.var(ddof=1) - v)
    assert between_split_variance(effects, np.full(3, 0.001)) == 0.0
    assert between_split_variance(effects[:1], np.array([v])) == 0.0


def test_between_split_variance_with_unequal_weights() -> None:
    effects, variances = np.array([0.01, 0.03]), np.array([1e-4, 1e-7])
    w = 1 / variances
    q = np.sum(w * (effects - np.average(effects, weights=w)) ** 2)
    expected = (q - 1) / (w.sum() - np.sum(w**2) / w.sum())
    assert between_split_variance(effects, variances) == pytest.approx(max(0.0, expected))
    assert between_split_variance(effects, np.array([1e-4, 1e-30])) == pytest.approx(effects.var(ddof=1))


def test_percentile_p_value_counts_the_draws_against_the_estimate() -> None:
    draws = np.concatenate([np.full(10, -1.0), np.full(990, 1.0)])
    assert percentile_effect(1.0, draws).p == pytest.approx(2 * 11 / 1001)
    assert percentile_effect(-1.0, draws).p == 1.0
    assert percentile_effect(0.0, np.zeros(100)).p == 1.0


def test_percentile_interval_holds_the_estimate() -> None:
    draws = RNG.normal(1.0, 0.1, 2000)
    assert percentile_effect(1.0, draws)[1:3] == pytest.approx((0.804, 1.196), abs=0.02)
    assert percentile_effect(0.5, draws).low == 0.5

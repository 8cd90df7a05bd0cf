import math

import numpy as np
import pytest
from scipy import stats

from tune_lb.inference.effects import bonferroni_t, differences, fieller, holm, paired_t, quantile, student

RNG = np.random.default_rng(3)
D = RNG.normal(-0.004, 0.01, 12)


def test_the_paired_interval_is_scipys():
    found, wanted = paired_t(D), stats.ttest_1samp(D, 0.0)
    interval = wanted.confidence_interval(0.95)
    assert found == pytest.approx((D.mean(), interval.low, interval.high, wanted.pvalue, 11))


def test_a_family_and_a_variance_that_does_not_average_out_widen_it():
    found = paired_t(D, extra_variance=4e-6, family=5)
    error = math.sqrt(D.var(ddof=1) / 12 + 4e-6)
    assert found.half_width == pytest.approx(stats.t.ppf(0.995, 11) * error)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(D.mean()) / error, 11))


def test_degrees_of_freedom_of_a_sum_are_satterthwaites():
    """As Welch's test has them: two variances, each with its own."""
    x, y = RNG.normal(0, 1, 6), RNG.normal(0, 2, 9)
    found = paired_t(x - y.mean(), y.var(ddof=1) / 9, extra_freedom=8)
    wanted = stats.ttest_ind(x, y, equal_var=False)
    assert (found.p, found.freedom) == pytest.approx((wanted.pvalue, wanted.df))
    assert paired_t(x, 0.0, extra_freedom=8).freedom == 5


@pytest.mark.parametrize("family", [1, 5])
@pytest.mark.parametrize("extra", [1e-9, 1e-6, 4e-6, 1e-4])
def test_what_is_added_makes_no_interval_shorter_and_no_p_smaller(extra, family):
    """Four blocks have 3 degrees of freedom, the sum more: t would shrink faster than the error grows."""
    few = D[:4]
    found, alone = paired_t(few, extra, family, extra_freedom=10), stats.ttest_1samp(few, 0.0)
    own = few.var(ddof=1) / 4
    freedom = (own + extra) ** 2 / (own**2 / 3 + extra**2 / 10)
    sums = stats.t(freedom, scale=math.sqrt(own + extra))
    halves = [stats.t.ppf(1 - 0.025 / family, 3) * math.sqrt(own), sums.ppf(1 - 0.025 / family)]
    assert found.half_width == pytest.approx(max(halves))
    assert found.p == pytest.approx(max(alone.pvalue, 2 * sums.sf(abs(few.mean()))))


def test_the_sum_alone_would_be_shorter_where_blocks_are_few():
    own = D[:4].var(ddof=1) / 4
    freedom = (own + own / 2) ** 2 / (own**2 / 3 + (own / 2) ** 2 / 10)
    assert stats.t.ppf(0.975, freedom) * math.sqrt(1.5) < stats.t.ppf(0.975, 3)


def test_bonferroni_t_is_the_interval_at_a_level_of_alpha_by_k():
    rows = RNG.normal(0, 0.01, (4, 9))
    for row, effect in zip(rows, bonferroni_t(rows), strict=True):
        assert (effect.low, effect.high) == pytest.approx(stats.ttest_1samp(row, 0).confidence_interval(1 - 0.05 / 4))


@pytest.mark.parametrize("values", [[], [0.01], [0.01, math.nan]])
def test_below_two_blocks_only_the_estimate_is_known(values):
    found = paired_t(np.array(values, dtype=float))
    assert math.isnan(found.low)
    assert math.isnan(found.p)
    assert not found.excludes_zero
    assert math.isnan(found.estimate) == (not values)


def test_differences_without_spread():
    assert paired_t(np.zeros(5)) == (0, 0, 0, 1, 4)
    assert math.isnan(paired_t(np.full(5, 0.01)).p)
    assert paired_t(np.full(5, 0.01), extra_variance=1e-6).p < 0.01


def test_an_unknown_variance_makes_the_interval_unknown():
    assert math.isnan(paired_t(D, math.nan).low)
    assert math.isnan(student(0.1, 0.1, 0).p)


def test_infinite_degrees_of_freedom_are_the_normal_distribution():
    assert quantile(math.inf) == pytest.approx(stats.norm.ppf(0.975))


def test_differences_pair_seeds_within_blocks_and_leave_out_what_is_missing():
    arm = np.array([[0.10, 0.20], [0.30, math.nan], [math.nan, 0.5]])
    reference = np.array([[0.05, 0.10], [0.10, 0.90], [0.20, math.nan]])
    assert differences(arm, reference) == pytest.approx([0.075, 0.20])


def test_holm_by_hand():
    p = np.array([0.01, math.nan, 0.04, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, math.nan, 0.06, 0.06, 0.02], nan_ok=True)
    assert holm(np.array([])).size == 0


def test_fieller_holds_the_ratios_that_the_t_test_does_not_reject():
    n, d = RNG.normal(0.5, 0.3, 15), RNG.normal(1.0, 0.4, 15)
    found = fieller(n, d)
    assert found.estimate == pytest.approx(n.mean() / d.mean())
    for ratio in (found.low, found.high):
        assert stats.ttest_1samp(n - ratio * d, 0).pvalue == pytest.approx(0.05)
    assert found.p == pytest.approx(stats.ttest_1samp(n, 0).pvalue)


def test_fieller_says_nothing_where_the_denominator_may_be_zero_or_blocks_are_too_few():
    assert math.isnan(fieller(np.ones(4), np.array([1.0, -1.0, 1.0, -0.9])).low)
    assert math.isnan(fieller(np.ones(1), np.ones(1)).low)
    wider = fieller(np.array([1.0, 1.2, 0.9]), np.array([5.0, 5.1, 4.9]), np.array([[0.1, 0], [0, 0.1]]))
    assert wider.half_width > fieller(np.array([1.0, 1.2, 0.9]), np.array([5.0, 5.1, 4.9])).half_width

"""What is expected before a search begins: half-widths, blocks, and the spread that a trained search shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tests.search import test_planner as planner
from tests.search.test_confirming import confirmed
from tune_lb.inference.precision import Spread
from tune_lb.search.confirming import confirmings
from tune_lb.search.precision import USUAL, expected_precision, spread_in
from tune_lb.space.until import Until

SPREAD = Spread(between=0.002, within=0.004, selection=0.0005)


def satterthwaite(blocks):
    """Variance of the mean over blocks, standard error with the selection's, and its degrees of freedom (1946)."""
    own, selection = (0.002**2 + 0.004**2 / 2) / blocks, 2 * 0.0005**2
    freedom = (own + selection) ** 2 / (own**2 / (blocks - 1) + selection**2 / 10)
    return own, math.sqrt(own + selection), freedom


def test_half_widths_are_those_of_the_formula_over_the_family():
    of = planner.compared(confirm_blocks=12, block_seeds=2)
    found = expected_precision(of, SPREAD)
    variance, error, freedom = satterthwaite(12)
    # the family are the arms that something is claimed of: noisy and sharp
    assert found.half_width == pytest.approx(100 * stats.t.ppf(1 - 0.025 / 2, freedom) * error, rel=1e-9)
    assert found.of_recipes == pytest.approx(100 * stats.t.ppf(0.975, 11) * math.sqrt(variance), rel=1e-9)
    assert found.blocks == 12

    def power(blocks):
        _, error, freedom = satterthwaite(blocks)
        return stats.t.cdf(0.005 / error - stats.t.ppf(1 - 0.025 / 2, freedom), freedom)

    assert power(found.blocks_for_effect) >= 0.8 > power(found.blocks_for_effect - 1)


def test_until_says_how_many_blocks_it_is_expected_to_take():
    of = planner.compared(confirm_blocks=Until(half_width=0.3, max_blocks=60))
    found = expected_precision(of, SPREAD)
    assert found.half_width <= 0.3
    assert found.blocks in (10, 14, 18, 22, 26)
    before = expected_precision(planner.compared(confirm_blocks=found.blocks - 4), SPREAD)
    assert before.half_width > 0.3
    never = expected_precision(planner.compared(confirm_blocks=Until(half_width=0.05)), SPREAD)
    assert (never.blocks, never.half_width > 0.05) == (60, True)


@pytest.mark.parametrize("given", [{"reference": None, "baseline": None}, {"confirm_blocks": 1}])
def test_where_nothing_is_compared_nothing_is_expected(given):
    assert expected_precision(planner.compared(**given)) is None


def test_the_spread_of_a_trained_search_is_that_of_its_differences():
    of = planner.compared(*planner.ARMS, confirm_blocks=12)
    search, _ = confirmed(of)
    found = spread_in(search)
    arms = confirmings(search, 12)
    within = []
    for name in ("noisy", "sharp"):
        pairs = arms[name].errors - arms["large"].errors
        assert pairs.shape == (12, 2)
        within.append(math.sqrt(pairs.var(axis=1, ddof=1).mean()))
    assert found.within == pytest.approx(np.mean(within)), "of two arms the median is the mean"
    assert found.within > 0
    assert found != USUAL
    assert spread_in(planner.Search(of, planner.FACTS)) is None, "nothing is trained"

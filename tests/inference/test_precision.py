import math

import numpy as np
import pytest
from scipy import stats

from tune_lb.inference.effects import paired_t
from tune_lb.inference.precision import Spread, blocks_needed, expected_half_width, spread_of
from tune_lb.inference.selection_variance import FREEDOM

RNG = np.random.default_rng(2)


def draw(spread, blocks, seeds, number):
    between = RNG.normal(0, spread.between, (number, blocks, 1))
    return between + RNG.normal(0, spread.within, (number, blocks, seeds))


def test_spreads_are_found_again():
    found = spread_of(draw(Spread(0.004, 0.003, 0.0), 20_000, 2, 1)[0], selection=4e-6)
    assert (found.between, found.within, found.selection) == pytest.approx((0.004, 0.003, 0.002), rel=0.03)
    assert math.isnan(spread_of(np.ones((1, 2))).between)
    assert spread_of(np.array([[0.0], [2.0]])).between == pytest.approx(math.sqrt(2))


def test_the_half_width_to_expect_is_what_drawn_runs_have():
    spread = Spread(0.004, 0.003, 0.001)
    halves = [paired_t(d.mean(axis=1), 2e-6, 5, FREEDOM).half_width for d in draw(spread, 12, 2, 500)]
    assert expected_half_width(spread, 12, 2, family=5) == pytest.approx(np.mean(halves), rel=0.03)
    assert expected_half_width(spread, 1, 2) == math.inf


def test_no_shorter_interval_is_expected_of_a_search_than_of_recipes():
    recipes = stats.t.ppf(0.975, 3) * math.sqrt((0.004**2 + 0.003**2) / 4)
    for selection in (0.0, 0.0005, 0.001):
        assert expected_half_width(Spread(0.004, 0.003, selection), 4, 1) >= recipes
    assert expected_half_width(Spread(0.004, 0.003, 0.001), 4, 1) == pytest.approx(recipes)


def test_so_many_blocks_find_the_effect_in_four_of_five_runs():
    spread = Spread(0.004, 0.003, 0.0)
    blocks = blocks_needed(spread, 0.005, 2, family=5)
    runs = draw(spread, blocks, 2, 3000).mean(axis=2) + 0.005
    p = stats.ttest_1samp(runs, 0, axis=1).pvalue
    assert np.mean(p < 0.01) == pytest.approx(0.8, abs=0.05)


def test_what_the_search_leaves_open_no_blocks_close():
    assert blocks_needed(Spread(0.004, 0.003, 0.002), 0.005, 2) is None
    assert blocks_needed(Spread(0.0, 0.0, 0.0), 0.005, 2) == 2
    with pytest.raises(ValueError, match="above 0"):
        blocks_needed(Spread(0.1, 0.1, 0.0), 0.0, 1)

import math

import numpy as np
import pytest

from tune_lb.inference.decision import choices, decide, log_loss, residual_spread, standing


def test_the_rule_by_hand():
    loss = np.exp([[0.0, 0.0], [0.1, 0.1], [0.2, 0.2]])
    error = np.array([[0.5, 0.5], [0.1, 0.1], [0.3, 0.3]])
    # sd of (0, .1, .2) is .1, of (.5, .1, .3) is .2: totals 0 + 2, 1 + 0, 2 + 1
    assert decide(loss, error) == 1
    assert decide(loss) == 0


def test_what_is_missing_or_diverged_counts_as_chance():
    loss = np.array([[0.5, math.nan], [0.6, 0.7]])
    assert standing(loss, chance=2.0).loss == pytest.approx([(math.log(0.5) + math.log(2)) / 2, math.log(0.42) / 2])
    assert decide(loss, chance=2.0) == 1
    assert decide(loss, chance=0.7) == 0
    assert standing(loss).loss[0] == pytest.approx((math.log(0.5) + math.log(0.7)) / 2)


def test_losses_above_chance_are_clipped_and_others_than_cross_entropies_are_left():
    assert log_loss(np.array([50.0, math.inf, 1.0]), 2.0) == pytest.approx([math.log(2), math.log(2), 0])
    assert log_loss(np.array([-1.0, math.nan, 3.0])) == pytest.approx([-1, 3, 3])


@pytest.mark.parametrize(
    ("loss", "choice"),
    [
        ([[math.nan, math.nan], [math.nan, math.nan]], 0),
        ([[math.nan, math.nan], [9.0, 9.0]], 1),
        ([[1.0]], 0),
        ([[2.0], [1.0]], 1),
        ([[1.0, 1.0], [1.0, 1.0]], 0),
    ],
    ids=["all diverged", "one is left", "one candidate", "one block", "all equal"],
)
def test_degenerate_tables(loss, choice):
    loss = np.array(loss)
    assert decide(loss) == choice
    assert decide(loss, loss / 10) == choice


def test_a_term_without_differences_says_nothing():
    assert choices(np.array([[3.0, 2.0, 1.0]]), np.array([[0.1, 0.1, 0.1]])).tolist() == [2]


def test_a_table_must_hold_something():
    with pytest.raises(ValueError, match="at least one of each"):
        decide(np.empty((0, 3)))
    with pytest.raises(ValueError, match=r"these are \(2, 2\)"):
        decide(np.ones((2, 2)), np.ones((2, 3)))


def test_the_residual_spread_is_that_of_least_squares_with_dummies():
    table = np.random.default_rng(0).normal(size=(4, 6))
    k, b = np.repeat(np.arange(4), 6), np.tile(np.arange(6), 4)
    design = np.column_stack([np.ones(24), *(k == i for i in range(1, 4)), *(b == j for j in range(1, 6))]).astype(
        float
    )
    rest = table.ravel() - design @ np.linalg.lstsq(design, table.ravel())[0]
    assert residual_spread(table) == pytest.approx(math.sqrt(rest @ rest / (24 - 9)))
    assert math.isnan(residual_spread(table[:1]))
    assert math.isnan(residual_spread(table[:, :1]))

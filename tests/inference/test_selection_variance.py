import math

import numpy as np
import pytest

from tune_lb.inference.decision import Standing, standing
from tune_lb.inference.selection_variance import Searched, fitted_errors, selection_variance, with_floor


def searched(errors, points=None):
    """Return the members of K candidates in R blocks with these test errors, (K, R)."""
    errors = np.asarray(errors, dtype=float)
    k, r = errors.shape
    points = np.empty((k, 0)) if points is None else points
    return Searched(
        points=np.repeat(points, r, axis=0),
        block=np.tile(np.arange(r), k),
        candidate=np.repeat(np.arange(k), r),
        log_loss=np.zeros(k * r),
        soft_error=errors.ravel(),
        test_error=errors.ravel(),
    )


def test_candidates_fit_to_their_means_and_blocks_drop_out():
    errors = np.add.outer([0.10, 0.12, 0.20], [0.0, 0.05, -0.03, 0.01] * 50)
    found = fitted_errors(searched(errors), 3)
    assert found - found.mean() == pytest.approx([-0.04, -0.02, 0.06], rel=0.02)


def test_a_quadratic_is_found_from_its_points():
    x = np.linspace(0, 1, 9)
    curve = 0.1 + 0.2 * (x - 0.4) ** 2
    found = fitted_errors(searched(np.tile(curve[:, None], 40), x[:, None]), 9)
    assert found - found.mean() == pytest.approx(curve - curve.mean(), abs=2e-3)


def test_the_variance_is_that_of_a_coin_between_two_equal_candidates():
    errors = np.tile([[0.1], [0.2]], 400)
    gap = np.ptp(fitted_errors(searched(errors), 2))
    equal = Standing(np.zeros(2), None, loss_spread=1.0, error_spread=math.nan, blocks=6)
    assert selection_variance(searched(errors), equal, draws=4000) == pytest.approx(gap**2 / 4, rel=0.02)


def test_the_search_might_have_missed_the_best_of_three():
    errors = np.tile([[0.1], [0.2], [0.9]], 3)
    sure = Standing(np.array([0.0, 5.0, 9.0]), np.array([0.0, 5.0, 9.0]), 1e-9, 1e-9, blocks=6)
    gap = np.ptp(fitted_errors(searched(errors), 3)[:2])
    assert selection_variance(searched(errors), sure, draws=4000) == pytest.approx(gap**2 * 2 / 9, rel=0.05)


def test_equal_candidates_have_no_variance():
    loss = np.random.default_rng(0).random((3, 4))
    assert selection_variance(searched([[0.1] * 4] * 3), standing(loss, loss)) == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize(
    ("loss", "known"),
    [
        ([[0.5, 0.6]], True),
        ([[math.nan, math.nan], [0.5, 0.6]], True),
        ([[math.nan, math.nan], [math.nan, math.nan]], True),
        ([[0.5], [0.6]], False),
    ],
    ids=["one candidate", "one is left", "all diverged", "one block"],
)
def test_without_a_choice_there_is_none_and_one_block_says_nothing(loss, known):
    loss = np.array(loss)
    found = selection_variance(searched(np.where(np.isfinite(loss), 0.1, 0.9)), standing(loss))
    assert found == 0 if known else math.isnan(found)


def test_a_candidate_without_members_leaves_it_unknown():
    some = searched([[0.1, 0.1], [0.2, 0.2]])
    assert math.isnan(selection_variance(some, Standing(np.zeros(3), None, 1.0, math.nan, 2)))


def test_the_search_counts_by_its_better_half():
    near = searched([[0.1] * 6, [0.11] * 6], np.array([[0.5], [0.6]]))
    far = Searched(np.array([[0.0], [1.0]]), np.full(2, 9), np.full(2, -1), np.ones(2), np.ones(2), np.ones(2))
    both = Searched(*(np.concatenate([getattr(near, n), getattr(far, n)]) for n in Searched.__dataclass_fields__))
    assert fitted_errors(both, 2) == pytest.approx(fitted_errors(near, 2))


def test_the_floor_is_half_the_mean_and_the_unknown_are_as_the_others():
    assert with_floor(np.array([0.0, 1.0, 2.0, math.nan])) == pytest.approx([0.5, 1.0, 2.0, 1.0])
    assert with_floor(np.array([math.nan])).tolist() == [0.0]

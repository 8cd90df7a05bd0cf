import math
from itertools import permutations

import numpy as np
import pytest

from tune_lb.inference.test_examples import example_variance

RNG = np.random.default_rng(5)


def test_with_a_fixed_test_set_it_is_the_covariance_of_different_members_by_the_number_of_examples():
    d = RNG.choice([-1.0, 0.0, 1.0], (4, 30))
    d += 0.5 * RNG.normal(size=30)
    centred = d - d.mean()
    pairs = [centred[j] @ centred[k] / (d.shape[1] - 1) for j, k in permutations(range(4), 2)]
    assert example_variance(d) == pytest.approx(np.mean(pairs) / d.shape[1])


@pytest.mark.parametrize("share", [1.0, 0.5], ids=["fixed test set", "resampled cuts"])
def test_it_is_the_variance_over_draws_of_the_examples(share):
    """Members' noise averages out; what is left varies with the examples by their differences' variance."""
    found, means, spread = [], [], 0.3
    for _ in range(400):
        delta = RNG.normal(0.1, spread, 200)
        d = delta + RNG.normal(size=(20, 200))
        d[RNG.random(d.shape) > share] = math.nan
        found.append(example_variance(d))
        means.append(delta.mean())
    assert np.mean(found) == pytest.approx(spread**2 / 200, rel=0.1)
    assert np.mean(found) == pytest.approx(np.var(means), rel=0.25)


def test_members_noise_alone_is_no_variance_of_examples():
    d = RNG.normal(size=(6, 5000))
    assert example_variance(d) < 0.1 * (d.mean(axis=0).var() / 5000)


@pytest.mark.parametrize(
    "d", [np.ones((1, 9)), np.ones((3, 1)), np.array([[1.0, math.nan], [math.nan, 1.0]]), np.full((2, 2), math.nan)]
)
def test_unknown_where_nothing_was_tested_twice(d):
    assert math.isnan(example_variance(d))


def test_no_differences_vary_by_nothing():
    assert example_variance(np.zeros((3, 9))) == 0

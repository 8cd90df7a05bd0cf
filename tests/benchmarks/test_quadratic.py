"""The quadratic of Xing et al. against the closed form x_t = (1 - eta h)^t x_0."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quadratic import RATES, STEPS, descent, row


@pytest.mark.parametrize("rate", RATES)
def test_descent_is_the_closed_form(rate: float) -> None:
    curvatures, start = np.array([1.0, 0.3, 0.02]), np.array([1.0, -2.0, 0.5])
    powers = (1 - rate * curvatures) ** np.arange(STEPS + 1)[:, None]
    np.testing.assert_allclose(descent(rate, STEPS, curvatures, start), powers * start, rtol=1e-12)


@pytest.mark.parametrize(
    ("rate", "changes", "regime"),
    [(0.1, 0, "over-damped"), (0.5, 0, "over-damped"), (1.5, STEPS, "under-damped"), (2.1, STEPS, "divergent")],
)
def test_signs_change_at_every_step_above_one_over_h(rate: float, changes: int, regime: str) -> None:
    found = row(rate)
    assert (found.sign_changes, found.regime) == (changes, regime)
    assert (found.cosine < 0) == (changes > 0)
    assert found.left == pytest.approx((1 - rate * 0.02) ** STEPS)
    assert found.loss == pytest.approx(((1 - rate) ** (2 * STEPS) + 0.02 * (1 - rate * 0.02) ** (2 * STEPS)) / 2)

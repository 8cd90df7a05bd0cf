from __future__ import annotations

import math

import pytest
import torch

from tests.metrics.cases import data, network, quadratic, surface
from tune_lb.errors import RequestError
from tune_lb.metrics.average_sharpness import AverageSharpness


def hessian(n):
    Q = torch.randn(n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Q @ Q.T


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_quadratic_rises_by_half_the_trace_and_the_standard_error_covers_it(adaptive):
    # seeds by the hundred: |z| > 2 should come 4.5 times in a hundred (a little more often with 20 pairs)
    H, w, sigma = hessian(6), torch.arange(1.0, 7.0, dtype=torch.float64), 0.3
    T = torch.diag(w.abs() if adaptive else torch.ones_like(w))
    expected = sigma**2 / 2 * float((T @ H @ T).trace())
    f = quadratic(H, b=100 * w, w=w)
    metric = AverageSharpness(sigma=sigma, adaptive=adaptive)
    rows = [metric.measure(f, seed) for seed in range(100)]
    z = [(row["average_sharpness"] - expected) / row["average_sharpness.standard_error"] for row in rows]
    assert sum(abs(value) > 2 for value in z) <= 14
    assert sum(abs(value) > 0.5 for value in z) >= 45
    mean = sum(row["average_sharpness"] for row in rows) / len(rows)
    assert mean == pytest.approx(expected, rel=0.05)


def test_a_linear_loss_does_not_rise_at_all():
    f = quadratic(torch.zeros(9, 9, dtype=torch.float64), b=torch.linspace(-3, 3, 9, dtype=torch.float64))
    row = AverageSharpness(sigma=5.0).measure(f, 0)
    assert abs(row["average_sharpness"]) < 1e-13
    assert row["average_sharpness.standard_error"] < 1e-13


def test_weights_at_zero_stay_when_adaptive():
    row = AverageSharpness(sigma=5.0, adaptive=True).measure(quadratic(hessian(4)), 0)
    assert row["average_sharpness"] == 0


def test_a_maximum_falls_and_twice_the_sigma_is_four_times_the_rise():
    H = hessian(5)
    one, two = (AverageSharpness(sigma=s).measure(quadratic(H), 0)["average_sharpness"] for s in (0.1, 0.2))
    assert two == pytest.approx(4 * one, rel=1e-10)
    assert AverageSharpness(sigma=0.1).measure(quadratic(-H), 0)["average_sharpness"] == pytest.approx(-one, rel=1e-10)


def test_chunks_and_order_do_not_matter_and_evaluations_are_counted():
    inputs, targets = data(20)
    f = surface(network(), inputs, targets)
    whole = AverageSharpness(pairs=3).measure(f, 0)
    parts = AverageSharpness(pairs=3).measure(surface(network(), inputs.flip(0), targets.flip(0), chunk=7), 0)
    assert parts["average_sharpness"] == pytest.approx(whole["average_sharpness"], rel=1e-8)
    assert f.num_values == whole["average_sharpness.evaluations"] + 1 == 7


def test_an_overflow_gives_null_with_the_reason():
    row = AverageSharpness(sigma=1.0).measure(quadratic(torch.full((2, 2), 3e38)), 0)
    assert row["average_sharpness"] is None
    assert "not finite" in row["average_sharpness.reason"]


@pytest.mark.parametrize("fields", [{"sigma": 0.0}, {"sigma": math.nan}, {"pairs": 1}])
def test_settings_without_meaning_are_refused(fields):
    with pytest.raises(RequestError, match="average_sharpness"):
        AverageSharpness(**fields)

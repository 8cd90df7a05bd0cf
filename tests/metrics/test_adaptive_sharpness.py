from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.metrics.cases import data, quadratic, surface
from tune_lb.errors import RequestError
from tune_lb.metrics.adaptive_sharpness import AdaptiveSharpness
from tune_lb.metrics.lambda_max import LambdaMax


def vector(n, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_linear_loss_has_the_closed_form():
    b, w = vector(8), vector(8, 1)
    row = AdaptiveSharpness(rho=0.3).measure(quadratic(torch.zeros(8, 8, dtype=torch.float64), b=b, w=w), 0)
    expected = 0.3 * float((w.abs() * b).norm())
    assert row["adaptive_sharpness"] == pytest.approx(expected, rel=1e-12)
    assert row["adaptive_sharpness.one_step"] == pytest.approx(expected, rel=1e-12)


def test_the_first_step_is_that_of_asam():
    H, w, rho = torch.diag(vector(6).abs()), vector(6, 1), 0.2
    row = AdaptiveSharpness(rho=rho, steps=1).measure(quadratic(H, w=w), 0)
    g = H @ w
    d = rho * w**2 * g / (w.abs() * g).norm()
    assert row["adaptive_sharpness.one_step"] == pytest.approx(float(g @ d + d @ H @ d / 2), rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_many_steps_reach_the_maximum_over_the_ellipsoid(offset):
    # max of g^T u + u^T M u / 2 on |u| = rho: (mu I - M) u = g, mu above the top eigenvalue, by bisection.
    # Whole numbers: the gradient at the minimum is then exactly zero.
    Q, w, rho = (3 * vector(36).view(6, 6)).round(), torch.tensor([1.0, -2, 3, 1, 2, -1]).double(), 0.5
    H = Q @ Q.T
    T = torch.diag(w.abs())
    M, g = T @ H @ T, T @ (H @ (offset * w))
    f = quadratic(H, b=-((1 - offset) * H) @ w, w=w)
    if offset:
        low = float(torch.linalg.eigvalsh(M)[-1])
        high = low + float(g.norm()) / rho
        for _ in range(200):
            mu = (low + high) / 2
            u = torch.linalg.solve(mu * torch.eye(6, dtype=torch.float64) - M, g)
            low, high = (mu, high) if float(u.norm()) > rho else (low, mu)
        expected = float(g @ u + u @ M @ u / 2)
    else:
        expected = rho**2 / 2 * float(torch.linalg.eigvalsh(M)[-1])
    row = AdaptiveSharpness(rho=rho, steps=200).measure(f, 0)
    assert row["adaptive_sharpness"] == pytest.approx(expected, rel=1e-8)
    assert row["adaptive_sharpness.start"] == ("gradient" if offset else "random")


def test_more_steps_never_lower_the_value_of_a_convex_loss():
    H, w = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64)), vector(8, 1)
    values = [AdaptiveSharpness(steps=k).measure(quadratic(H, w=w), 0)["adaptive_sharpness"] for k in range(1, 8)]
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_rescaling_a_relu_network_changes_lambda_max_but_not_this():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    before = surface(net, *data(20))
    adaptive, curvature = AdaptiveSharpness().measure(before, 0), LambdaMax().measure(before, 0)
    with torch.no_grad():
        net[0].weight.mul_(10)
        net[0].bias.mul_(10)
        net[2].weight.div_(10)
    after = surface(net, *data(20))
    assert after.value() == pytest.approx(before.value(), rel=1e-12)
    row = AdaptiveSharpness().measure(after, 0)
    assert row["adaptive_sharpness"] == pytest.approx(adaptive["adaptive_sharpness"], rel=1e-9)
    assert LambdaMax().measure(after, 0)["lambda_max"] > 2 * curvature["lambda_max"]


@pytest.mark.parametrize("w", [torch.zeros(3), torch.ones(3)])
def test_a_constant_loss_has_none(w):
    row = AdaptiveSharpness().measure(quadratic(torch.zeros(3, 3), w=w), 0)
    assert row["adaptive_sharpness"] == 0
    assert row["adaptive_sharpness.start"] == "random"


def test_a_maximum_has_none_and_a_tiny_gradient_still_points_somewhere():
    assert AdaptiveSharpness().measure(quadratic(-torch.eye(3), w=torch.zeros(3)), 0)["adaptive_sharpness"] == 0
    tiny = quadratic(torch.zeros(3, 3), b=torch.full((3,), 1e-30), w=torch.ones(3))
    value = AdaptiveSharpness(rho=1.0, steps=1).measure(tiny, 0)["adaptive_sharpness"]
    assert value == pytest.approx(math.sqrt(3) * 1e-30, rel=1e-5, abs=0)


def test_a_loss_that_overflows_gives_null_with_the_reason():
    f = quadratic(torch.zeros(1, 1), b=torch.tensor([2e38]), w=torch.tensor([1.0]))
    row = AdaptiveSharpness(rho=5.0).measure(f, 0)
    assert row["adaptive_sharpness"] is None
    assert "the loss is inf" in row["adaptive_sharpness.reason"]


@pytest.mark.parametrize("fields", [{"rho": 0.0}, {"rho": math.inf}, {"steps": 0}])
def test_settings_without_meaning_are_refused(fields):
    with pytest.raises(RequestError, match="adaptive_sharpness"):
        AdaptiveSharpness(**fields)

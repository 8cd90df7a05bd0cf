from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.metrics.cases import data, network, quadratic, surface
from tune_lb.errors import RequestError
from tune_lb.metrics.adaptive_sharpness import AdaptiveSharpness
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.sam_sharpness import SamSharpness


def vector(n, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def symmetric(n, seed=0):
    Q = vector(n * n, seed).view(n, n)
    return Q + Q.T


def highest_in_the_ball(H, g, rho):
    """max of g^T d + d^T H d / 2 over |d| <= rho: (mu I - H) d = g with mu >= max(0, lambda_max), by bisection."""
    eye, top = torch.eye(len(g), dtype=torch.float64), float(torch.linalg.eigvalsh(H)[-1])
    if top < 0 and float(torch.linalg.solve(-H, g).norm()) <= rho:
        d = torch.linalg.solve(-H, g)
        return float(g @ d + d @ H @ d / 2)
    low, high = max(top, 0.0), abs(top) + float(g.norm()) / rho
    for _ in range(200):
        mu = (low + high) / 2
        d = torch.linalg.solve(mu * eye - H, g)
        low, high = (mu, high) if float(d.norm()) > rho else (low, mu)
    return float(g @ d + d @ H @ d / 2)


def test_linear_loss_has_the_closed_form():
    b = vector(8)
    row = SamSharpness(rho=0.3).measure(quadratic(torch.zeros(8, 8, dtype=torch.float64), b=b), 0)
    assert row["sam_sharpness"] == pytest.approx(0.3 * float(b.norm()), rel=1e-12)
    assert row["sam_sharpness.one_step"] == pytest.approx(0.3 * float(b.norm()), rel=1e-12)


@pytest.mark.parametrize("kind", ["convex", "indefinite", "concave"])
@pytest.mark.parametrize("seed", range(3))
def test_many_steps_reach_the_maximum_over_the_ball(kind, seed):
    S, w, rho = symmetric(6, seed), vector(6, seed + 10), 0.5
    H = {"convex": S @ S, "indefinite": S, "concave": -S @ S - torch.eye(6, dtype=torch.float64)}[kind]
    row = SamSharpness(rho=rho, steps=400).measure(quadratic(H, w=w), 0)
    assert row["sam_sharpness"] == pytest.approx(highest_in_the_ball(H, H @ w, rho), rel=1e-4)
    d = rho * (H @ w) / (H @ w).norm()
    assert row["sam_sharpness.one_step"] == pytest.approx(float((H @ w) @ d + d @ H @ d / 2), rel=1e-10)


def test_a_maximum_inside_the_ball_is_found():
    H, w = -torch.eye(4, dtype=torch.float64), torch.tensor([0.1, 0.0, 0.2, 0.0], dtype=torch.float64)
    row = SamSharpness(rho=1.0, steps=60).measure(quadratic(H, w=w), 0)
    assert row["sam_sharpness"] == pytest.approx(float(w @ w) / 2, rel=1e-3)
    assert row["sam_sharpness.one_step"] < 0


def test_at_a_minimum_it_is_the_top_eigenvalue_and_sams_step_nothing():
    S = symmetric(7)
    row = SamSharpness(rho=0.1, steps=300).measure(quadratic(S @ S), 3)
    assert row["sam_sharpness"] == pytest.approx(0.1**2 / 2 * float(torch.linalg.eigvalsh(S @ S)[-1]), rel=1e-9)
    assert (row["sam_sharpness.one_step"], row["sam_sharpness.start"]) == (0.0, "random")


def test_on_a_network_it_grows_with_rho_and_steps_and_agrees_with_lambda_max():
    f = surface(network(), *data(30))
    rows = [SamSharpness(rho=rho).measure(f, 0) for rho in (0.01, 0.05, 0.2)]
    values = [row["sam_sharpness"] for row in rows]
    assert 0 < values[0] < values[1] < values[2]
    assert all(row["sam_sharpness"] >= row["sam_sharpness.one_step"] for row in rows)
    by_steps = [SamSharpness(rho=0.2, steps=k).measure(f, 0)["sam_sharpness"] for k in range(1, 9)]
    assert by_steps == sorted(by_steps)
    _, g = f.value_and_gradient()
    second = LambdaMax().measure(f, 0)["lambda_max"] / 2
    assert values[0] == pytest.approx(0.01 * float(g.norm()), rel=0.02)
    assert values[0] <= 0.01 * float(g.norm()) + 0.01**2 * second * 1.05


def test_chunks_and_order_do_not_matter():
    inputs, targets = data(20)
    whole = SamSharpness().measure(surface(network(), inputs, targets), 0)["sam_sharpness"]
    parts = SamSharpness().measure(surface(network(), inputs.flip(0), targets.flip(0), chunk=7), 0)["sam_sharpness"]
    assert parts == pytest.approx(whole, rel=1e-10)


def test_a_constant_and_a_maximum_have_none_and_a_tiny_gradient_points_somewhere():
    assert SamSharpness().measure(quadratic(torch.zeros(3, 3)), 0)["sam_sharpness"] == 0
    assert SamSharpness().measure(quadratic(-torch.eye(3)), 0)["sam_sharpness"] == 0
    tiny = quadratic(torch.zeros(3, 3), b=torch.full((3,), 1e-30))
    value = SamSharpness(rho=1.0).measure(tiny, 0)["sam_sharpness"]
    assert value == pytest.approx(math.sqrt(3) * 1e-30, rel=1e-5, abs=0)


def test_an_overflow_gives_null_with_the_reason():
    row = SamSharpness(rho=5.0).measure(quadratic(torch.zeros(1, 1), b=torch.tensor([2e38])), 0)
    assert row["sam_sharpness"] is None
    assert "the loss is inf within the ball" in row["sam_sharpness.reason"]


def corners(H, g, scale, rho):
    """The highest rise of a convex quadratic in the box: it is at a corner, and all of them are tried."""
    signs = [torch.tensor(s, dtype=torch.float64) for s in itertools.product((-1, 1), repeat=len(g))]
    return max(float(g @ d + d @ H @ d / 2) for d in (rho * scale * s for s in signs))


@pytest.mark.parametrize("seed", range(4))
def test_adaptive_in_the_box_ends_at_a_corner_that_no_single_flip_improves(seed):
    # coupled weights: unlike in a diagonal quadratic, corners differ
    S, w, rho = symmetric(7, seed), vector(7, seed + 20), 0.4
    H = S @ S
    row = AdaptiveSharpness(linf_rho=rho, steps=50).measure(quadratic(H, w=w), 0)
    g, scale = H @ w, w.abs()
    d = rho * scale * g.sign()
    assert row["adaptive_sharpness.linf_one_step"] == pytest.approx(float(g @ d + d @ H @ d / 2), rel=1e-10)
    highest = corners(H, g, scale, rho)
    assert 0.8 * highest <= row["adaptive_sharpness.linf"] <= highest * (1 + 1e-12)
    assert row["adaptive_sharpness.linf"] >= row["adaptive_sharpness.linf_one_step"]


def test_the_box_leaves_the_ellipsoid_as_it_was_and_is_off_by_default():
    f = surface(network(), *data(20))
    plain, both = AdaptiveSharpness().measure(f, 0), AdaptiveSharpness(linf_rho=0.01).measure(f, 0)
    assert not any("linf" in key for key in plain)
    assert plain.items() <= both.items()
    assert both["adaptive_sharpness.linf"] > 0
    assert both.keys() == AdaptiveSharpness(linf_rho=0.01).columns().keys()


@pytest.mark.parametrize("fields", [{"rho": 0.0}, {"rho": math.inf}, {"steps": 0}])
def test_settings_without_meaning_are_refused(fields):
    with pytest.raises(RequestError, match="sam_sharpness"):
        SamSharpness(**fields)
    with pytest.raises(RequestError, match="linf_rho"):
        AdaptiveSharpness(linf_rho=-1.0)

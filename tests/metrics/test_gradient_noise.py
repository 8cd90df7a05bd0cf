"""The noise scale and the covariance of single examples' gradients, against dense matrices."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from tests.metrics.cases import cross_entropy, data, dense_hessian, network, quadratic, reference_loss, surface
from tune_lb.errors import RequestError
from tune_lb.metrics.gradient_covariance import GradientCovariance
from tune_lb.metrics.gradient_noise_scale import GradientNoiseScale, _TwoSizes
from tune_lb.surface.example_gradients import covariance_product, each_gradient, slopes, weighted_gradient

NAME = "gradient_noise_scale"


def dense(net, inputs, targets):
    """Return the gradients of the examples (N, 99) and the Hessian of their mean, from the formula of the loss."""
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])

    def of(part):
        return lambda w: reference_loss(net, w, inputs[part], targets[part], "running")

    G = torch.stack([torch.func.grad(of(slice(i, i + 1)))(flat) for i in range(len(inputs))])
    return G, dense_hessian(of(slice(None)), flat)


def regression(num_samples, noise, seed=0):
    """A line through noisy points, f = (w^T x - y)^2 / 2, away from its minimum: gradients (w^T x - y) x."""
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(num_samples, 4, generator=draws, dtype=torch.float64)
    y = x @ torch.ones(4, dtype=torch.float64) + noise * torch.randn(num_samples, generator=draws, dtype=torch.float64)
    model = nn.Linear(4, 1, bias=False).double()
    nn.init.constant_(model.weight, 2.0)
    f = surface(model, x, y, loss=lambda outputs, targets: (outputs[:, 0] - targets) ** 2 / 2)
    return f, (x @ torch.full((4,), 2.0, dtype=torch.float64) - y)[:, None] * x


@pytest.mark.parametrize("chunk", [None, 4])
def test_sums_slopes_and_single_gradients_are_the_dense_ones(chunk):
    net, (inputs, targets) = network(), data(10)
    G, _ = dense(net, inputs, targets)
    f = surface(net, inputs, targets, chunk=chunk)
    v, weights = torch.linspace(-1, 1, 99, dtype=torch.float64), torch.linspace(-2, 3, 10, dtype=torch.float64)
    torch.testing.assert_close(each_gradient(f, lambda g: g), G, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(weighted_gradient(f, weights), weights @ G, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(slopes(f, v), G @ v, rtol=1e-9, atol=1e-12)
    around = G - G.mean(0)
    torch.testing.assert_close(covariance_product(f, v), around.T @ (around @ v) / 10, rtol=1e-9, atol=1e-12)


def test_with_batch_statistics_single_gradients_still_sum_to_the_gradient():
    f = surface(network(), *data(10), batch_norm="batch", chunk=5)
    _, gradient = f.value_and_gradient()
    torch.testing.assert_close(each_gradient(f, lambda g: g).mean(0), gradient, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(slopes(f, gradient).mean(), gradient @ gradient, rtol=1e-9, atol=1e-12)


def test_exact_values_are_those_of_the_dense_matrices():
    net, (inputs, targets) = network(), data(24)
    G, H = dense(net, inputs, targets)
    g = G.mean(0)
    around = G - g
    row = GradientNoiseScale(groups=6, probes=150).measure(surface(net, inputs, targets, chunk=7), 0)
    trace = float(around.square().sum()) / 24
    assert row[f"{NAME}.trace"] == pytest.approx(trace, rel=1e-9)
    assert row[f"{NAME}.squared_gradient"] == pytest.approx(float(g @ g), rel=1e-9)
    assert row[NAME] == pytest.approx(trace / float(g @ g), rel=1e-9)
    unbiased = trace * 24 / 23
    assert row[f"{NAME}.unbiased"] == pytest.approx(unbiased / (float(g @ g) - unbiased / 24), rel=1e-9)
    assert row[f"{NAME}.small_batch"] == 4
    weighted = float(torch.einsum("ij,jk,ik->", around, H, around)) / 24 / float(g @ H @ g)
    error = row[f"{NAME}.critical_batch_size_standard_error"]
    assert row[f"{NAME}.critical_batch_size"] == pytest.approx(weighted, abs=4 * error)
    assert 0 < error < 0.25 * abs(weighted)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_the_variance_of_a_batch_gradient_is_the_trace_over_the_batch_size(batch_size):
    # Jaiswal and Taura's noise model: Sigma / B, over all batches of B of 6 examples, drawn without replacement
    net, (inputs, targets) = network(), data(6)
    trace = GradientNoiseScale(groups=2, probes=2).measure(surface(net, inputs, targets), 0)[f"{NAME}.trace"]
    of_batches = torch.stack(
        [
            surface(net, inputs[list(batch)], targets[list(batch)]).value_and_gradient()[1]
            for batch in itertools.combinations(range(6), batch_size)
        ]
    )
    variance = float(of_batches.var(0, unbiased=False).sum())
    assert variance == pytest.approx(trace / batch_size * (6 - batch_size) / (6 - 1), rel=1e-9)


@pytest.mark.slow
def test_estimates_agree_with_the_distribution_and_standard_errors_cover_it():
    # the distribution: 100,000 points; from 600 of them, many times
    _, G = regression(100_000, 1.0, seed=99)
    g = G.mean(0)
    truth = float((G - g).square().sum(1).mean() / (g @ g))
    rows = [GradientNoiseScale(probes=2).measure(regression(200, 1.0, seed)[0], seed) for seed in range(20)]
    for what, error in (("unbiased", "standard_error"), ("two_batches", "two_batches_standard_error")):
        z = [(row[f"{NAME}.{what}"] - truth) / row[f"{NAME}.{error}"] for row in rows]
        assert sum(abs(value) > 2.5 for value in z) <= 2, what
        assert abs(sum(z)) / math.sqrt(len(z)) < 3, what
        assert sum(abs(value) > 0.3 for value in z) >= 8, what


def test_two_batch_sizes_with_their_expected_squares_give_the_true_ratio():
    # E |g_b|^2 = |G|^2 + tr / b for any b
    G2, trace, b, K = 3.0, 50.0, 4, 6
    products = torch.tensor([[G2 + trace / b, 0.0]] * K, dtype=torch.float64)
    assert _TwoSizes(products, G2 + trace / (b * K), b).ratio() == pytest.approx(trace / G2, rel=1e-12)


def test_the_standard_error_is_that_of_the_jackknife():
    draws = torch.Generator().manual_seed(0)
    g = torch.randn(300, 5, generator=draws, dtype=torch.float64) + 1
    mean, num, b = g.mean(0), len(g), 3

    def ratio(rows):
        whole = rows.mean(0)
        return b * float(rows.square().sum(1).mean() / (whole @ whole))

    left = torch.tensor([ratio(torch.cat([g[:i], g[i + 1 :]])) for i in range(num)])
    expected = math.sqrt((num - 1) / num * float((left - left.mean()).square().sum()))
    found = _TwoSizes(torch.stack([g.square().sum(1), g @ mean], 1), float(mean @ mean), b)
    assert found.standard_error() == pytest.approx(expected, rel=0.02)


def test_equal_examples_have_no_noise_and_a_minimum_no_scale():
    H = torch.diag(torch.tensor([1.0, 2.0], dtype=torch.float64))
    row = GradientNoiseScale(groups=3).measure(quadratic(H, w=torch.ones(2, dtype=torch.float64)), 0)
    for what in ("", ".trace", ".unbiased", ".two_batches", ".critical_batch_size", ".standard_error"):
        assert row[f"{NAME}{what}"] == pytest.approx(0, abs=1e-12), what
    row = GradientNoiseScale(groups=3).measure(quadratic(H), 0)
    assert row[NAME] is row[f"{NAME}.critical_batch_size"] is row[f"{NAME}.unbiased"] is None
    assert row[f"{NAME}.reason"] is None


def test_more_groups_than_examples_and_a_saddle_leave_their_values_null():
    f, _ = regression(5, 1.0)
    row = GradientNoiseScale(groups=6).measure(f, 0)
    assert row[f"{NAME}.two_batches"] is row[f"{NAME}.small_batch"] is None
    assert row[NAME] > 0
    saddle = quadratic(-torch.eye(2, dtype=torch.float64), w=torch.ones(2, dtype=torch.float64))
    assert GradientNoiseScale(groups=3).measure(saddle, 0)[f"{NAME}.critical_batch_size"] is None


def test_order_and_chunks_do_not_matter():
    inputs, targets = data(20)
    one = GradientNoiseScale().measure(surface(network(), inputs, targets), 0)
    other = GradientNoiseScale().measure(surface(network(), inputs.flip(0), targets.flip(0), chunk=6), 0)
    for what in ("", ".trace", ".squared_gradient", ".unbiased", ".standard_error"):
        assert other[f"{NAME}{what}"] == pytest.approx(one[f"{NAME}{what}"], rel=1e-9)


@pytest.mark.slow
def test_covariance_is_that_of_the_dense_matrices():
    net, (inputs, targets) = network(), data(24)
    G, H = dense(net, inputs, targets)
    g = G.mean(0)
    C = (G - g).T @ (G - g) / 24
    name = "gradient_covariance"
    row = GradientCovariance(probes=150, tolerance=1e-8).measure(surface(net, inputs, targets, chunk=10), 0)
    v = torch.linalg.eigh(H).eigenvectors[:, -1]
    assert row[name] == pytest.approx(float(torch.linalg.eigvalsh(C)[-1]), rel=1e-7)
    assert row[f"{name}.along_top"] == pytest.approx(float(v @ C @ v) / row[name], rel=1e-4)
    alignment = float((H * C).sum() / (H.norm() * C.norm()))
    assert row[f"{name}.alignment"] == pytest.approx(alignment, abs=4 * row[f"{name}.alignment_standard_error"])
    assert row[f"{name}.alignment_standard_error"] < 0.1
    remainder = float((H - C - torch.outer(g, g)).norm() / H.norm())
    assert row[f"{name}.remainder"] == pytest.approx(remainder, rel=0.1)
    assert row[f"{name}.converged"]


@pytest.mark.parametrize("scale", [0.0, 0.3, 10.0])
def test_hessian_less_covariance_in_logistic_regression(scale):
    # example i adds p (1 - p) u u^T to H and (1 - p)^2 u u^T to C + g g^T, u = (x, -x): equal at p = 1/2 alone
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = scale * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    model = nn.Linear(3, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.stack([w, -w]))
    row = GradientCovariance(probes=200).measure(surface(model, x, (x @ w < 0).long(), loss=cross_entropy), 0)
    p, u = torch.sigmoid(2 * (x @ w).abs()), torch.cat([x, -x], 1)
    H, second = (torch.einsum("i,ij,ik->jk", weight, u, u) for weight in (p * (1 - p), (1 - p) ** 2))
    expected = float((H - second).norm() / H.norm())
    assert row["gradient_covariance.remainder"] == pytest.approx(expected, rel=0.05, abs=1e-12)
    assert (expected < 1e-12) == (scale == 0)


def test_no_noise_has_no_alignment():
    H = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    row = GradientCovariance().measure(quadratic(H, w=torch.ones(3, dtype=torch.float64)), 0)
    assert row["gradient_covariance"] == 0
    assert row["gradient_covariance.alignment"] is row["gradient_covariance.along_top"] is None
    assert row["gradient_covariance.reason"] is None


@pytest.mark.parametrize(
    "build",
    [
        lambda: GradientNoiseScale(groups=1),
        lambda: GradientNoiseScale(probes=0),
        lambda: GradientCovariance(probes=1),
        lambda: GradientCovariance(tolerance=2.0),
        lambda: GradientCovariance(max_products=0),
    ],
)
def test_settings_without_meaning_are_refused(build):
    with pytest.raises(RequestError, match="gradient_"):
        build()

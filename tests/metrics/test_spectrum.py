"""Eigenvalues beyond the first, traces and densities, against known spectra and dense Hessians."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.metrics.cases import data, dense_hessian, network, quadratic, reference_loss, surface
from tests.metrics.test_lambda_max import BULK, spectrum
from tune_lb.errors import RequestError
from tune_lb.metrics.batch_lambda_max import BatchLambdaMax
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.lambda_min import LambdaMin
from tune_lb.metrics.layer_lambda_max import LayerLambdaMax, blocks
from tune_lb.metrics.participation_ratio import ParticipationRatio
from tune_lb.metrics.spectral_norm import SpectralNorm
from tune_lb.metrics.spectrum import Spectrum
from tune_lb.metrics.top_eigenvalues import TopEigenvalues
from tune_lb.metrics.trace import Trace
from tune_lb.surface.lanczos import largest_eigenpairs

SPECTRA = {
    "dominant negative": [-3.0, 2.0, *BULK],
    "tie of signs": [-2.0, 2.0, *BULK],
    "double top": [5.0, 5.0, *BULK],
    "triple top, quadruple": [5.0, 5.0, 5.0, 3.0, 3.0, 3.0, 3.0, *BULK],
    "negative definite": [-1.0, -2.0, -3.0, -3.0],
    "multiple of the identity": [4.0] * 30,
    "zero": [0.0] * 10,
    "rank one": [7.0, *[0.0] * 20],
    "one parameter": [-7.0],
}


def dense(net, inputs, targets):
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])
    return dense_hessian(lambda point: reference_loss(net, point, inputs, targets, "running"), flat)


@pytest.mark.parametrize("case", SPECTRA)
def test_both_ends_of_a_known_spectrum(case):
    values = SPECTRA[case]
    f, near = quadratic(spectrum(values)), {"rel": 1e-9, "abs": 1e-9}
    assert LambdaMin(tolerance=1e-6).measure(f, 0)["lambda_min"] == pytest.approx(min(values), **near)
    row = SpectralNorm(tolerance=1e-6).measure(f, 0)
    assert row["spectral_norm"] == pytest.approx(max(abs(v) for v in values), **near)
    assert row["spectral_norm.largest"] == pytest.approx(max(values), **near)
    assert row["spectral_norm.smallest"] == pytest.approx(min(values), **near)
    assert row["spectral_norm.converged"]


@pytest.mark.parametrize("case", SPECTRA)
@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_the_top_of_a_known_spectrum_has_equal_values_as_often_as_they_occur(case, k):
    values = sorted(SPECTRA[case], reverse=True)
    if k > len(values):
        row = TopEigenvalues(k=k).measure(quadratic(spectrum(values)), 0)
        assert row["top_eigenvalues.lambda_1"] is None
        assert row["top_eigenvalues.reason"] == f"k = {k}, but the network has {len(values)} parameters"
        return
    row = TopEigenvalues(k=k, tolerance=1e-7).measure(quadratic(spectrum(values)), 0)
    found = [row[f"top_eigenvalues.lambda_{i}"] for i in range(1, k + 1)]
    assert found == pytest.approx(values[:k], rel=1e-9, abs=1e-12)
    assert row["top_eigenvalues.converged"]


def test_pairs_are_orthonormal_and_their_residuals_are_bounds():
    H, draws = spectrum([5.0, 5.0, 4.0, *BULK]), torch.Generator().manual_seed(0)
    calls = []

    def product(v):
        calls.append(1)
        return H @ v

    pairs = largest_eigenpairs(
        product, lambda: torch.randn(63, generator=draws, dtype=torch.float64), 3, tolerance=1e-3, max_products=200
    )
    vectors = torch.stack([pair.vector for pair in pairs])
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=2e-3)
    assert [pair.products for pair in pairs] == [len(calls)] * 3
    for pair in pairs:
        assert float((H @ pair.vector - pair.value * pair.vector).norm()) <= pair.residual + 1e-12 <= 2e-2


def test_too_few_products_say_so():
    f = quadratic(spectrum([1.0, 0.99, *BULK[:50]]))
    row = TopEigenvalues(k=3, tolerance=1e-9, max_hvps=4).measure(f, 0)
    assert not row["top_eigenvalues.converged"]
    assert row["top_eigenvalues.hvps"] == 4
    assert not LambdaMin(tolerance=1e-9, max_hvps=3).measure(f, 0)["lambda_min.converged"]
    assert not SpectralNorm(tolerance=1e-9, max_hvps=3).measure(f, 0)["spectral_norm.converged"]
    # unfinished and fewer than asked for: null, not a guess
    few = TopEigenvalues(k=5, max_hvps=2).measure(f, 0)
    assert few["top_eigenvalues.lambda_2"] is not None
    assert few["top_eigenvalues.lambda_3"] is None


def test_a_network_s_whole_spectrum_against_the_dense_hessian():
    net, (inputs, targets) = network(), data(12)
    H = dense(net, inputs, targets)
    values = torch.linalg.eigvalsh(H).flip(0)
    f = surface(net, inputs, targets)
    top = TopEigenvalues(k=6, tolerance=1e-6).measure(f, 0)
    assert [top[f"top_eigenvalues.lambda_{i}"] for i in range(1, 7)] == pytest.approx(values[:6].tolist(), rel=1e-8)
    low = LambdaMin(tolerance=1e-5).measure(f, 0)
    assert low["lambda_min"] == pytest.approx(float(values[-1]), rel=1e-7)
    exact = Trace().measure(f, 0)
    assert exact["trace"] == pytest.approx(float(H.trace()), rel=1e-10)
    assert (exact["trace.standard_error"], exact["trace.probes"], exact["trace.hvps"]) == (0, 0, 99)
    ratio = ParticipationRatio().measure(f, 0)
    assert ratio["participation_ratio"] == pytest.approx(float(H.trace() ** 2 / (H @ H).trace()), rel=1e-10)


def test_layers_are_the_diagonal_blocks():
    net, (inputs, targets) = network(), data(12)
    H, f = dense(net, inputs, targets), surface(net, inputs, targets)
    row = LayerLambdaMax(tolerance=1e-6).measure(f, 0)
    layers = json.loads(row["layer_lambda_max.layers"])
    assert blocks(f) == {"0": slice(0, 56), "1": slice(56, 72), "4": slice(72, 99)}
    for name, place in blocks(f).items():
        assert layers[name] == pytest.approx(float(torch.linalg.eigvalsh(H[place, place])[-1]), rel=1e-5)
    assert row["layer_lambda_max"] == pytest.approx(max(layers.values()), rel=1e-5)
    assert row["layer_lambda_max"] < LambdaMax().measure(f, 0)["lambda_max"]


@pytest.mark.parametrize("outliers", [[], [50.0, 30.0, -20.0]])
def test_the_standard_error_of_a_trace_is_that_of_many_estimates(outliers):
    values = [*outliers, *np.linspace(-0.5, 1, 120)]
    f = quadratic(spectrum(values))
    rows = [Trace(deflate=8, min_probes=8, max_hvps=16).measure(f, seed) for seed in range(60)]
    errors = np.array([row["trace"] for row in rows]) - sum(values)
    stated = np.array([row["trace.standard_error"] for row in rows])
    assert all(row["trace.probes"] == 8 and row["trace.deflated"] == 8 for row in rows)
    # mean of 60: within 3.5 of its own standard error; spread as stated, within the noise of 60 estimates
    assert abs(errors.mean()) < 3.5 * errors.std() / math.sqrt(60)
    assert math.sqrt((stated**2).mean()) == pytest.approx(errors.std(), rel=0.3)
    # the outliers are deflated: what is left is the bulk's spread
    assert errors.std() < 2 * math.sqrt(2 * sum(v * v for v in values[len(outliers) :]) / 8)


def test_trace_goes_on_until_the_error_asked_for_and_says_when_it_was_not_reached():
    f = quadratic(spectrum([*np.linspace(0, 1, 250)]))
    good = Trace(relative_error=0.004).measure(f, 0)
    assert good["trace.converged"]
    assert good["trace.standard_error"] <= 0.004 * good["trace"]
    assert good["trace.probes"] > 10
    assert abs(good["trace"] - 125) < 4 * good["trace.standard_error"]
    poor = Trace(relative_error=1e-6, max_hvps=40).measure(f, 0)
    assert not poor["trace.converged"]
    assert poor["trace.hvps"] == 40


@pytest.mark.parametrize(("values", "expected"), [([3.0] * 250, 250), ([3.0, *[0.0] * 249], 1), ([0.0] * 250, 0)])
def test_participation_ratio_counts_the_directions(values, expected):
    row = ParticipationRatio(relative_error=0.01).measure(quadratic(spectrum(values)), 0)
    assert row["participation_ratio"] == pytest.approx(expected, rel=0.03, abs=1e-12)
    assert row["participation_ratio.converged"]


def test_participation_ratio_of_a_bulk_with_outliers():
    values = [30.0, 20.0, *np.linspace(-0.5, 1, 300)]
    truth = sum(values) ** 2 / sum(v * v for v in values)
    row = ParticipationRatio(deflate=10, max_hvps=150).measure(quadratic(spectrum(values)), 0)
    assert abs(row["participation_ratio"] - truth) < 4 * row["participation_ratio.standard_error"]
    assert row["participation_ratio.standard_error"] < 0.1 * truth


def test_density_of_a_spectrum_that_the_steps_exhaust_is_exact():
    values = [-3.0, -3.0, 0.0, 1.0, 8.0, 8.0, 8.0, 8.0]
    row = Spectrum(steps=20, starts=150).measure(quadratic(spectrum(values)), 0)
    nodes, weights = (np.array(json.loads(row[f"spectrum.{what}"])) for what in ("nodes", "weights"))
    assert sum(weights) == pytest.approx(1, abs=1e-4)
    for value in sorted(set(values)):
        share = weights[abs(nodes - value) < 1e-4].sum()
        assert share == pytest.approx(values.count(value) / 8, abs=0.08)
    assert row["spectrum.negative"] == pytest.approx(2 / 8, abs=0.08)
    assert row["spectrum.positive"] == pytest.approx(5 / 8, abs=0.08)
    assert row["spectrum.mean"] == pytest.approx(sum(values) / 8, abs=0.6)


def test_density_has_the_moments_of_each_start():
    H = spectrum([-3.0, 2.0, *BULK])
    row = Spectrum(steps=5, starts=1).measure(quadratic(H), 0)
    nodes, weights = (np.array(json.loads(row[f"spectrum.{what}"])) for what in ("nodes", "weights"))
    from tune_lb.metrics.eigenvalue_columns import random_vector

    v = random_vector(quadratic(H), 0, "spectrum")
    v = v / v.norm()
    for degree in range(10):
        moment = float(v @ torch.linalg.matrix_power(H, degree) @ v)
        assert weights @ nodes**degree == pytest.approx(moment, rel=1e-3, abs=1e-3)


def test_batches_are_measured_each_for_itself():
    net, (inputs, targets) = network(), data(13)
    row = BatchLambdaMax(batch_size=4, tolerance=1e-6).measure(surface(net, inputs, targets), 0)
    values = [float(torch.linalg.eigvalsh(dense(net, inputs[i : i + 4], targets[i : i + 4]))[-1]) for i in (0, 4, 8)]
    assert row["batch_lambda_max"] == pytest.approx(np.mean(values), rel=1e-7)
    assert row["batch_lambda_max.standard_deviation"] == pytest.approx(np.std(values, ddof=1), rel=1e-6)
    assert row["batch_lambda_max.num_batches"] == 3
    whole = surface(net, inputs[:12], targets[:12])
    assert row["batch_lambda_max"] >= LambdaMax().measure(whole, 0)["lambda_max"]
    short = BatchLambdaMax().measure(whole, 0)
    assert short["batch_lambda_max.reason"] == "batch_size = 500, but there are 12 examples"


def test_closed_forms_of_a_softmax_layer_with_zero_weights_and_of_least_squares():
    # softmax at 0: H = (1/N) sum x x^T kron (I/K - 1 1^T / K^2); its top is that of X^T X / N over K
    inputs, targets = data(20)
    net = nn.Linear(6, 3, bias=False).double()
    nn.init.zeros_(net.weight)
    f = surface(net, inputs, targets)
    second = inputs.T @ inputs / 20
    top = float(torch.linalg.eigvalsh(second)[-1]) / 3
    row = TopEigenvalues(k=2, tolerance=1e-7).measure(f, 0)
    assert [row["top_eigenvalues.lambda_1"], row["top_eigenvalues.lambda_2"]] == pytest.approx([top, top], rel=1e-8)
    assert Trace().measure(f, 0)["trace"] == pytest.approx(float(second.trace()) * 2 / 3, rel=1e-10)
    assert LambdaMin().measure(f, 0)["lambda_min"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (LambdaMin, {"tolerance": 0}),
        (SpectralNorm, {"max_hvps": 0}),
        (TopEigenvalues, {"k": 0}),
        (TopEigenvalues, {"tolerance": 1}),
        (Trace, {"min_probes": 1}),
        (Trace, {"deflate": 0}),
        (Trace, {"max_hvps": 29}),
        (ParticipationRatio, {"relative_error": 0}),
        (Spectrum, {"steps": 1}),
        (Spectrum, {"starts": 0}),
        (BatchLambdaMax, {"batch_size": 0}),
        (LayerLambdaMax, {"tolerance": 2}),
    ],
)
def test_settings_without_meaning_are_refused(kind, fields):
    with pytest.raises(RequestError, match=kind.name):
        kind(**fields)


@pytest.mark.parametrize("kind", [LambdaMin, SpectralNorm, TopEigenvalues, Trace, ParticipationRatio, Spectrum])
def test_a_product_that_is_not_finite_gives_null_with_the_reason(kind):
    H = torch.full((20, 20), torch.finfo(torch.float32).max)
    row = kind().measure(quadratic(H), 0)
    assert row[f"{kind.name}.reason"] == "a Hessian-vector product is not finite"
    assert row.get(kind.name) is None

from __future__ import annotations

import pytest
import torch

from tests.metrics.cases import data, dense_hessian, network, quadratic, reference_loss, surface
from tune_lb.errors import RequestError
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.surface.lanczos import largest_eigenpair


def spectrum(values, seed=0):
    """A symmetric float64 matrix with the given eigenvalues in a random basis."""
    values = torch.tensor(values, dtype=torch.float64)
    draws = torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    Q = torch.linalg.qr(draws).Q
    return (Q * values) @ Q.T


BULK = [i / 60 for i in range(60)]
SPECTRA = {
    "dominant negative": ([-3.0, 2.0, *BULK], 2.0),
    "tie of signs": ([-2.0, 2.0, *BULK], 2.0),
    "flat 1e-6": ([1e-6 * x for x in [1.0, *BULK[:50]]], 1e-6),
    "flat 1e-30": ([1e-30 * x for x in [1.0, *BULK[:50]]], 1e-30),
    "close pair": ([1.0, 0.99, *BULK[:50]], 1.0),
    "double": ([5.0, 5.0, *BULK], 5.0),
    "negative definite": ([-1.0, -2.0, -3.0], -1.0),
    "semidefinite, top 0": ([0.0, -1.0, -2.0], 0.0),
    "multiple of the identity": ([4.0] * 30, 4.0),
    "negative multiple of the identity": ([-4.0] * 30, -4.0),
    "zero": ([0.0] * 10, 0.0),
    "one parameter": ([7.0], 7.0),
    "one parameter, negative": ([-7.0], -7.0),
}


@pytest.mark.parametrize("case", SPECTRA)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_most_positive_eigenvalue_of_a_known_spectrum(case, seed):
    values, top = SPECTRA[case]
    row = LambdaMax(tolerance=1e-6).measure(quadratic(spectrum(values)), seed)
    assert row["lambda_max"] == pytest.approx(top, rel=1e-9, abs=1e-14 * max(abs(v) for v in values))
    assert row["lambda_max.converged"]
    assert row["lambda_max.reason"] is None


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("case", ["dominant negative", "multiple of the identity", "double"])
def test_float32_reaches_the_tolerance_at_any_scale(case, scale):
    values, top = SPECTRA[case]
    row = LambdaMax().measure(quadratic((scale * spectrum(values)).float()), 0)
    assert row["lambda_max"] == pytest.approx(scale * top, rel=1e-3)
    assert row["lambda_max.converged"]
    assert row["lambda_max.dtype"] == "float32"


def test_breakdown_needs_one_product():
    for values in ([4.0] * 30, [0.0] * 10, [7.0]):
        assert LambdaMax().measure(quadratic(spectrum(values)), 0)["lambda_max.hvps"] == 1


@pytest.mark.parametrize("batch_norm", ["running", "batch"])
@pytest.mark.parametrize("chunk", [None, 6])
def test_network_against_the_dense_hessian(batch_norm, chunk):
    net, (inputs, targets) = network(), data(12)
    f = surface(net, inputs, targets, batch_norm=batch_norm, chunk=chunk)

    def reference(flat):
        size = chunk or 12
        pieces = [reference_loss(net, flat, inputs[i], targets[i], batch_norm) for i in torch.arange(12).split(size)]
        return torch.stack(pieces).mean()

    dense = torch.linalg.eigvalsh(dense_hessian(reference, f.point))
    row = LambdaMax(tolerance=1e-6).measure(f, 3)
    assert row["lambda_max"] == pytest.approx(float(dense[-1]), rel=1e-8)
    assert row["lambda_max.hvps"] == f.num_hvps < 30
    assert row["lambda_max.residual"] <= 1e-6


def test_the_residual_is_that_of_the_vector_and_bounds_the_error():
    H = spectrum([10.0, 9.0, *BULK])
    start = torch.randn(62, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pair = largest_eigenpair(lambda v: H @ v, start, tolerance=1e-2, max_products=100)
    residual = float((H @ pair.vector - pair.value * pair.vector).norm())
    assert residual == pytest.approx(pair.residual, rel=1e-6)
    assert abs(pair.value - 10) <= residual <= 1e-2 * pair.value
    assert float(pair.vector.norm()) == pytest.approx(1)


def test_too_few_products_say_so_and_bound_from_below():
    row = LambdaMax(tolerance=1e-9, max_hvps=3).measure(quadratic(spectrum([1.0, 0.99, *BULK[:50]])), 0)
    assert not row["lambda_max.converged"]
    assert row["lambda_max.hvps"] == 3
    assert row["lambda_max.residual"] > 1e-9
    assert row["lambda_max"] < 1


def test_more_products_than_the_first_block_of_the_basis_holds():
    values = [i / 10 for i in range(80)]
    row = LambdaMax(tolerance=1e-12, max_hvps=80).measure(quadratic(spectrum(values)), 0)
    assert row["lambda_max.hvps"] > 16
    assert row["lambda_max"] == pytest.approx(7.9, rel=1e-12)


def test_a_product_that_is_not_finite_gives_null_with_the_reason():
    H = torch.full((3, 3), torch.finfo(torch.float32).max)
    row = LambdaMax().measure(quadratic(H), 0)
    assert row["lambda_max"] is None
    assert row["lambda_max.reason"] == "a Hessian-vector product is not finite"


@pytest.mark.parametrize("fields", [{"tolerance": 0}, {"tolerance": 1.0}, {"max_hvps": 0}])
def test_settings_without_meaning_are_refused(fields):
    with pytest.raises(RequestError, match="lambda_max"):
        LambdaMax(**fields)

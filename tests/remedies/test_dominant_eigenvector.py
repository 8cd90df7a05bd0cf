"""The eigenvector from gradients alone, against the dense eigensystem."""

from __future__ import annotations

import pytest
import torch

from tune_lb.remedies.adaptive_linearization import dominant_eigenvector


def matrix(values, seed=0):
    draws = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(len(values), len(values), generator=draws).double())[0]
    return basis @ torch.diag(torch.tensor(values).double()) @ basis.T


def point(n=6, seed=1):
    w = torch.randn(n, generator=torch.Generator().manual_seed(seed)).double()
    return {"a": w[:4].view(2, 2), "b": w[4:]}


def flat(tree):
    return torch.cat([value.flatten() for value in tree.values()])


def gradient_of(A, shift=0.0):
    def gradient(tree):
        g = A @ flat(tree) + shift
        return {"b": g[4:], "a": g[:4].view(2, 2)}

    return gradient


# the largest in size is negative in the second: the most positive is meant
@pytest.mark.parametrize("values", [[5.0, 3.0, 1.0, 0.5, -1.0, 0.1], [2.0, 1.0, 0.0, 0.5, -9.0, 0.1]])
@pytest.mark.parametrize("orientation", ["gradient", "largest"])
def test_the_most_positive_eigenvector_with_its_sign(values, orientation):
    A = matrix(values)
    found = dominant_eigenvector(gradient_of(A), point(), 6, orientation=orientation)
    assert {name: value.shape for name, value in found.items()} == {"a": (2, 2), "b": (2,)}
    v, expected = flat(found), torch.linalg.eigh(A)[1][:, -1]
    assert abs(v @ expected).item() == pytest.approx(1.0, abs=1e-8)
    sign = v @ (A @ flat(point())) if orientation == "gradient" else v[v.abs().argmax()]
    assert sign.item() > 0


def test_a_space_that_is_exhausted_early_is_no_trouble():
    # three eigenvalues: after three products nothing is left, whatever is asked for
    A = matrix([4.0, 4.0, 1.0, 1.0, -2.0, -2.0])
    v = flat(dominant_eigenvector(gradient_of(A), point(), 6))
    torch.testing.assert_close(A @ v, 4.0 * v, rtol=1e-7, atol=1e-7)
    negative = matrix([-1.0, -1.0, -1.0, -3.0, -3.0, -3.0])
    v = flat(dominant_eigenvector(gradient_of(negative), point(), 6))
    torch.testing.assert_close(negative @ v, -v, rtol=1e-7, atol=1e-7)


def test_a_zero_gradient_has_no_vector():
    v = flat(dominant_eigenvector(gradient_of(torch.zeros(6, 6).double()), point(), 3))
    assert torch.isfinite(v).all()


def test_members_may_be_stacked():
    matrices = torch.stack([matrix([5.0, 3.0, 1.0, 0.5, -1.0, 0.1], seed) for seed in range(3)])
    points = {name: torch.stack([point(seed=seed)[name] for seed in range(3)]) for name in ("a", "b")}
    together = torch.func.vmap(lambda A, tree: dominant_eigenvector(gradient_of(A), tree, 6))(matrices, points)
    for i in range(3):
        alone = dominant_eigenvector(gradient_of(matrices[i]), {k: v[i] for k, v in points.items()}, 6)
        torch.testing.assert_close({k: v[i] for k, v in together.items()}, alone, rtol=1e-6, atol=1e-7)

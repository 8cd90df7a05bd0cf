"""The largest eigenpair of a symmetric operator, by the Lanczos method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Eigenpair:
    """An eigenvalue with its vector and how well they satisfy H v = value v.

    value: the Ritz value. vector: (n,), unit norm. residual: |H v - value v|. products: number of H v made.
    converged: residual <= tolerance * |value|, or as small as rounding lets it be.
    """

    value: float
    vector: Tensor
    residual: float
    products: int
    converged: bool


def largest_eigenpair(
    product: Callable[[Tensor], Tensor], start: Tensor, *, tolerance: float, max_products: int
) -> Eigenpair:
    """Return the most positive (not the largest in magnitude) eigenvalue of a symmetric operator, with its vector.

    Lanczos with full reorthogonalization, twice: after k products H Q = Q T + beta q e_k^T with T (k, k) tridiagonal;
    the largest eigenpair (theta, s) of T has residual beta |s_k|, at which the iteration stops. Where beta vanishes,
    the Krylov space of the start vector (n,) is exhausted and theta is exact: a multiple of the identity after 1
    product, a zero operator too.

    Source: Paige, 1972; Parlett, The Symmetric Eigenvalue Problem, 1980, chapter 13. A random start vector has a part
    in every eigenspace. Cost: max_products products at most, memory n * products. Raises FloatingPointError where a
    product is not finite.
    """
    n = start.numel()
    rounding = 10 * torch.finfo(start.dtype).eps
    basis = start.new_empty(min(16, n, max_products), n)
    vector = start / start.norm()
    diagonal: list[float] = []
    below: list[float] = []
    for k in range(min(n, max_products)):
        if k == len(basis):
            basis = torch.cat([basis, basis.new_empty(min(k, n - k), n)])
        basis[k] = vector
        span = basis[: k + 1]
        vector = product(vector)
        alpha = vector.new_zeros(())
        for _ in range(2):
            part = span @ vector
            vector = torch.addmv(vector, span.T, part, alpha=-1)
            alpha = alpha + part[k]
        beta = float(vector.norm())
        diagonal.append(float(alpha))
        if not (math.isfinite(beta) and math.isfinite(diagonal[-1])):
            raise FloatingPointError("a Hessian-vector product is not finite")
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(below, -1))
        theta, weights = float(values[-1]), vectors[:, -1]
        residual = beta * abs(float(weights[-1]))
        floor = rounding * max(float(np.abs(values).max()), beta)
        converged = k + 1 == n or residual <= max(tolerance * abs(theta), floor)
        if converged:
            break
        below.append(beta)
        vector = vector / beta
    ritz = torch.from_numpy(weights).to(start) @ span
    return Eigenpair(theta, ritz / ritz.norm(), residual, k + 1, converged)

"""Eigenvalues of a symmetric operator, by the Lanczos method."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


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


class Lanczos:
    """A growing factorization H Q = Q T + beta q e_k^T, T (k, k) tridiagonal, with full reorthogonalization, twice.

    start: (n,), not 0. locked: (m, n) with orthonormal rows, which the basis stays orthogonal to: H is then deflated.
    Source: Paige, 1972; Parlett, The Symmetric Eigenvalue Problem, 1980, chapter 13. Cost: one product and O(k n) per
    step, memory n * steps. Raises FloatingPointError where a product is not finite.
    """

    def __init__(self, product: Product, start: Tensor, *, max_steps: int, locked: Tensor | None = None) -> None:
        self.product, self.locked = product, locked
        self.n = start.numel()
        self.rank = self.n - (0 if locked is None else len(locked))
        self.max_steps = min(max_steps, self.rank)
        self._basis = start.new_empty(min(16, self.max_steps), self.n)
        self._vector = start / start.norm()
        if locked is not None:
            self._vector = _orthogonal(start, locked)
        self._rounding = 10 * torch.finfo(start.dtype).eps
        self.diagonal: list[float] = []
        self.below: list[float] = []
        self.beta = math.inf
        self.values: npt.NDArray[np.float64] = np.zeros(0)
        self._rotation: npt.NDArray[np.float64] = np.zeros((0, 0))

    @property
    def steps(self) -> int:
        """Products made."""
        return len(self.diagonal)

    @property
    def basis(self) -> Tensor:
        """Q^T, shape (steps, n): orthonormal rows."""
        return self._basis[: self.steps]

    @property
    def floor(self) -> float:
        """The residual that rounding alone leaves."""
        return self._rounding * max(float(np.abs(self.values).max()), self.beta)

    @property
    def exhausted(self) -> bool:
        """Whether the Krylov space of the start vector holds no other direction: all Ritz pairs are exact."""
        return self.steps == self.rank or (self.steps > 0 and self.beta <= self.floor)

    def advance(self) -> None:
        """Make one product; afterwards `values` are the eigenvalues of T, ascending."""
        self.take(self.product(self.following()))

    def following(self) -> Tensor:
        """Return the vector (n,) whose product with H is needed next, a row of the basis."""
        k = self.steps
        if k == len(self._basis):
            more = min(k, self.max_steps - k)
            self._basis = torch.cat([self._basis, self._basis.new_empty(more, self.n)])
        self._basis[k] = self._vector / self.beta if k else self._vector
        return self._basis[k]

    def take(self, vector: Tensor) -> None:
        """Take in that product: several runs can so have theirs made at once."""
        k = self.steps
        if k:
            self.below.append(self.beta)
        span = self._basis[: k + 1]
        alpha = vector.new_zeros(())
        for _ in range(2):
            if self.locked is not None:
                vector = torch.addmv(vector, self.locked.T, self.locked @ vector, alpha=-1)
            part = span @ vector
            vector = torch.addmv(vector, span.T, part, alpha=-1)
            alpha = alpha + part[k]
        self.beta, self._vector = float(vector.norm()), vector
        self.diagonal.append(float(alpha))
        if not (math.isfinite(self.beta) and math.isfinite(self.diagonal[-1])):
            raise FloatingPointError("a Hessian-vector product is not finite")
        self.values, self._rotation = np.linalg.eigh(np.diag(self.diagonal) + np.diag(self.below, -1))

    def residual(self, i: int) -> float:
        """Return |H v - theta v| of the i-th Ritz pair (the deflated H)."""
        return self.beta * abs(float(self._rotation[-1, i]))

    def weight(self) -> npt.NDArray[np.float64]:
        """Return the squared first components of T's eigenvectors: the weights of Gauss quadrature at `values`."""
        squared: npt.NDArray[np.float64] = self._rotation[0] ** 2
        return squared

    def vector(self, i: int) -> Tensor:
        """Return the i-th Ritz vector (n,), of unit norm."""
        ritz: Tensor = torch.from_numpy(self._rotation[:, i]).to(self.basis) @ self.basis
        unit: Tensor = ritz / ritz.norm()
        return unit


def largest_eigenpair(product: Product, start: Tensor, *, tolerance: float, max_products: int) -> Eigenpair:
    """Return the most positive (not the largest in magnitude) eigenvalue of a symmetric operator, with its vector.

    The largest Ritz pair (theta, s) of T has residual beta |s_k|, at which the iteration stops. Where beta vanishes, the
    Krylov space of the start vector (n,) is exhausted and theta is exact: a multiple of the identity after 1 product, a
    zero operator too. A random start vector has a part in every eigenspace. Cost: at most max_products products.
    """
    run = Lanczos(product, start, max_steps=max_products)
    while True:
        run.advance()
        pair = largest_found(run, tolerance)
        if pair is not None:
            return pair


def largest_found(run: Lanczos, tolerance: float) -> Eigenpair | None:
    """Return the largest Ritz pair of a run where it has converged, or where the run may make no more products."""
    residual, theta = run.residual(-1), float(run.values[-1])
    converged = run.steps == run.n or residual <= max(tolerance * abs(theta), run.floor)
    if converged or run.steps == run.max_steps:
        return Eigenpair(theta, run.vector(-1), residual, run.steps, converged)
    return None


def largest_eigenpairs(
    product: Product, draw: Callable[[], Tensor], num: int, *, tolerance: float, max_products: int
) -> list[Eigenpair]:
    """Return the `num` most positive eigenvalues, descending, equal ones as often as they occur.

    One Lanczos run to `num` converged Ritz pairs, which holds each multiple eigenvalue once; then runs that are kept
    orthogonal to what was found, until the largest value left is no larger than the smallest found. Residuals are
    bounds, relative to the largest eigenvalue in magnitude of those found; `converged` is that of the whole.
    draw: a random start vector (n,), new in every call. `products` is the sum in every pair. num at most n.
    """
    found: list[tuple[float, Tensor, float]] = []
    used, checked = 0, False
    while used < max_products and not checked:
        locked = _orthonormal(vector for _, vector, _ in found)
        run = Lanczos(product, draw(), max_steps=max_products - used, locked=locked)
        missing = max(1, num - len(found))
        lost = math.sqrt(sum(residual**2 for _, _, residual in found))
        while True:
            run.advance()
            wanted = range(-1, -1 - min(missing, run.steps), -1)
            scale = max([abs(float(run.values[-1])), *(abs(value) for value, _, _ in found)])
            limit = max(tolerance * scale, run.floor)
            converged = run.exhausted or (run.steps >= missing and all(run.residual(i) <= limit for i in wanted))
            if converged or run.steps == run.max_steps:
                break
        used += run.steps
        new = [(float(run.values[i]), run.vector(i), math.hypot(lost, run.residual(i))) for i in wanted]
        checked = converged and len(found) >= num and new[0][0] <= found[num - 1][0] + limit
        if len(found) < num or (converged and not checked):
            found = sorted(found + new, key=lambda pair: -pair[0])
        checked = checked or len(found) == run.n
    return [Eigenpair(value, vector, residual, used, checked) for value, vector, residual in found[:num]]


def smallest_and_largest(
    product: Product, start: Tensor, *, tolerance: float, max_products: int
) -> tuple[Eigenpair, Eigenpair]:
    """Return both ends of the spectrum from one run, residuals relative to the end of larger magnitude."""
    run = Lanczos(product, start, max_steps=max_products)
    while True:
        run.advance()
        ends: list[Any] = [(float(run.values[i]), run.residual(i)) for i in (0, -1)]
        limit = max(tolerance * max(abs(value) for value, _ in ends), run.floor)
        converged = run.exhausted or all(residual <= limit for _, residual in ends)
        if converged or run.steps == run.max_steps:
            low, high = (
                Eigenpair(value, run.vector(i), residual, run.steps, converged)
                for i, (value, residual) in zip((0, -1), ends, strict=True)
            )
            return low, high


def _orthogonal(vector: Tensor, locked: Tensor) -> Tensor:
    for _ in range(2):
        vector = torch.addmv(vector, locked.T, locked @ vector, alpha=-1)
    unit: Tensor = vector / vector.norm()
    return unit


def _orthonormal(vectors: Iterable[Tensor]) -> Tensor | None:
    # Ritz vectors of different runs are orthogonal up to their residuals; the next run relies on it to the last bit.
    kept: list[Tensor] = []
    for vector in vectors:
        kept.append(_orthogonal(vector, torch.stack(kept)) if kept else vector)
    return torch.stack(kept) if kept else None

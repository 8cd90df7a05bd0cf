"""The trace of a symmetric operator and of its square, from random probes, with standard errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tune_lb.surface.lanczos import Lanczos, Product


@dataclass(frozen=True)
class Traces:
    """Estimates of tr H and tr H^2 with the standard errors of both.

    probes: random probes that the errors come from; 0 where the values are exact. deflated: dimension of the space in
    which the traces are known exactly. products: number of H v made. met: whether the error asked for was reached.
    """

    trace: float
    standard_error: float
    squared: float
    squared_standard_error: float
    probes: int
    deflated: int
    products: int
    met: bool


def traces(
    product: Product,
    start: Tensor,
    signs: Callable[[], Tensor],
    *,
    deflate: int,
    min_probes: int,
    max_products: int,
    relative_error: float,
    of_square: bool = False,
) -> Traces:
    """Return tr H = tr T + E z^T H z and tr H^2 = |T|^2 + beta^2 + E |H z|^2, z = (I - Q Q^T) g, g random signs.

    Q (n, k) is the Lanczos basis of `deflate` products from `start` (n,), with H Q = Q T + beta q e_k^T: the outlying
    eigenvalues, which cause nearly all the variance of plain probes, are in it, and Q^T H Q = T costs nothing more.
    The mean over probes is unbiased whatever Q is, and its standard error is that of the sample mean. Probes go on until
    the error is at most relative_error times |tr H| (of_square: and so for tr H^2), at least min_probes of them; an
    operator with at most max_products rows is added up exactly. Source: Hutchinson, 1990; deflation as in Meyer et al.,
    2021 (Hutch++), by a Krylov space as in Chen and Hallman, 2023.
    """
    n = start.numel()
    if n <= max_products:
        return _exact(product, start)
    run = Lanczos(product, start, max_steps=deflate)
    while run.steps < run.max_steps and not run.exhausted:
        run.advance()
    basis, below = run.basis, run.below
    known = math.fsum(run.diagonal)
    known_squared = math.fsum([a * a for a in run.diagonal] + [2 * b * b for b in below] + [run.beta**2])
    found: list[float] = []
    found_squared: list[float] = []
    while True:
        probe = signs()
        for _ in range(2):
            probe = torch.addmv(probe, basis.T, basis @ probe, alpha=-1)
        image = product(probe)
        found.append(float(probe @ image))
        found_squared.append(float(image @ image))
        if not math.isfinite(found_squared[-1]):
            raise FloatingPointError("a Hessian-vector product is not finite")
        products = run.steps + len(found)
        if len(found) < min(min_probes, max_products - run.steps):
            continue
        trace, error = _mean(known, found)
        squared, squared_error = _mean(known_squared, found_squared)
        met = error <= relative_error * abs(trace) and (not of_square or squared_error <= relative_error * squared)
        if met or products >= max_products:
            return Traces(trace, error, squared, squared_error, len(found), run.steps, products, met)


def _mean(known: float, found: list[float]) -> tuple[float, float]:
    return known + statistics.fmean(found), statistics.stdev(found) / math.sqrt(len(found))


def _exact(product: Product, like: Tensor) -> Traces:
    n = like.numel()
    trace, squared = [], []
    for i in range(n):
        unit = torch.zeros_like(like)
        unit[i] = 1
        column = product(unit)
        trace.append(float(column[i]))
        squared.append(float(column @ column))
    if not math.isfinite(math.fsum(squared)):
        raise FloatingPointError("a Hessian-vector product is not finite")
    return Traces(math.fsum(trace), 0.0, math.fsum(squared), 0.0, 0, n, n, True)

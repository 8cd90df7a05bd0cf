"""The trace of a symmetric operator and of its square, from random probes, with standard errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from tune_lb.errors import RequestError
from tune_lb.metric import Value, generator, protocol, protocol_columns
from tune_lb.metrics.extreme import random_vector
from tune_lb.metrics.lanczos import Lanczos, Product
from tune_lb.surface import LossSurface


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


class Sampling(Protocol):
    """A metric that estimates traces."""

    name: ClassVar[str]

    @property
    def deflate(self) -> int:
        """Products spent on the space in which the traces are exact."""
        ...

    @property
    def min_probes(self) -> int:
        """Fewest random probes."""
        ...

    @property
    def max_hvps(self) -> int:
        """Most Hessian-vector products."""
        ...

    @property
    def relative_error(self) -> float:
        """Standard error to stop at, relative to the estimate."""
        ...


def check(metric: Sampling) -> None:
    """Raise RequestError for settings without meaning."""
    if metric.deflate < 1 or metric.min_probes < 2:
        found = f"deflate = {metric.deflate}, min_probes = {metric.min_probes}"
        raise RequestError(f"{metric.name}: {found}: give at least 1 and at least 2")
    if metric.max_hvps < metric.deflate + metric.min_probes:
        needed = f"deflate + min_probes = {metric.deflate + metric.min_probes}"
        raise RequestError(f"{metric.name}.max_hvps = {metric.max_hvps}: give at least {needed}")
    if not 0 < metric.relative_error < 1:
        raise RequestError(f"{metric.name}.relative_error = {metric.relative_error}: give a number between 0 and 1")


def surface_traces(metric: Sampling, surface: LossSurface, seed: int, *, of_square: bool) -> Traces:
    """Return the traces of the surface's Hessian; the seed draws start vector and probes."""
    draws = generator(seed, f"{metric.name}/probes")

    def signs() -> Tensor:
        drawn = torch.randint(2, (surface.num_parameters,), generator=draws, dtype=torch.int8)
        return (2 * drawn - 1).to(surface.device, surface.dtype)

    return traces(
        surface.hvp,
        random_vector(surface, seed, metric.name),
        signs,
        deflate=metric.deflate,
        min_probes=metric.min_probes,
        max_products=metric.max_hvps,
        relative_error=metric.relative_error,
        of_square=of_square,
    )


def sample_columns(name: str) -> dict[str, str]:
    """Return the columns of how traces were estimated, and those of every metric."""
    return {
        f"{name}.hvps": "Hessian-vector products made",
        f"{name}.probes": "random probes that the standard error comes from; 0: the value is exact",
        f"{name}.deflated": "dimension of the space in which the traces are known exactly",
        f"{name}.converged": "whether the standard error reached relative_error",
        f"{name}.relative_error": "standard error asked for, relative to the estimate",
        f"{name}.max_hvps": "most Hessian-vector products allowed",
        **protocol_columns(name),
    }


def sample_row(metric: Sampling, found: Traces, surface: LossSurface, seed: int) -> dict[str, Value]:
    """Return the values of sample_columns."""
    name = metric.name
    return {
        f"{name}.hvps": found.products,
        f"{name}.probes": found.probes,
        f"{name}.deflated": found.deflated,
        f"{name}.converged": found.met,
        f"{name}.relative_error": metric.relative_error,
        f"{name}.max_hvps": metric.max_hvps,
        **protocol(name, surface, seed),
    }

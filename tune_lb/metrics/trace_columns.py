"""What metrics that estimate traces have in common."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor

from tune_lb.errors import RequestError
from tune_lb.metrics.eigenvalue_columns import random_vector
from tune_lb.metrics.metric import Value, generator, protocol, protocol_columns
from tune_lb.surface.loss_surface import LossSurface
from tune_lb.surface.traces import Traces, traces


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
        **protocol_columns(name, products=True),
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
        **protocol(name, surface, seed, products=True),
    }

"""What metrics that are one eigenvalue at an end of the spectrum have in common."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor

from tune_lb.errors import RequestError
from tune_lb.metrics.metric import Value, generator, protocol, protocol_columns
from tune_lb.surface.lanczos import Eigenpair
from tune_lb.surface.loss_surface import LossSurface


class Iteration(Protocol):
    """A metric that iterates to a tolerance."""

    name: ClassVar[str]

    @property
    def tolerance(self) -> float:
        """Relative residual to stop at."""
        ...

    @property
    def max_hvps(self) -> int:
        """Most Hessian-vector products."""
        ...


def check(metric: Iteration) -> None:
    """Raise RequestError for settings without meaning."""
    if not 0 < metric.tolerance < 1:
        raise RequestError(f"{metric.name}.tolerance = {metric.tolerance}: give a number between 0 and 1")
    if metric.max_hvps < 1:
        raise RequestError(f"{metric.name}.max_hvps = {metric.max_hvps}: give at least 1")


def random_vector(surface: LossSurface, seed: int, name: str, index: int = 0) -> Tensor:
    """Return a standard normal vector (num_parameters,), the index-th of the metric's own."""
    purpose = f"{name}/{index}" if index else name
    draws = torch.randn(surface.num_parameters, generator=generator(seed, purpose))
    return draws.to(surface.device, surface.dtype)


def iteration_columns(name: str, of: str) -> dict[str, str]:
    """Return the columns of how an eigenvalue was found, and those of every metric. of: what the residual is relative to."""
    return {
        f"{name}.residual": f"|H v - lambda v| / |{of}|; null where {of} is 0 and the residual is not",
        f"{name}.hvps": "Hessian-vector products made",
        f"{name}.converged": "whether the residual reached the tolerance (or rounding)",
        f"{name}.tolerance": "relative residual asked for",
        f"{name}.max_hvps": "most Hessian-vector products allowed",
        **protocol_columns(name, products=True),
    }


def iteration_row(
    metric: Iteration, pair: Eigenpair, relative_to: float, surface: LossSurface, seed: int
) -> dict[str, Value]:
    """Return the values of iteration_columns."""
    name = metric.name
    return {
        f"{name}.residual": 0.0 if pair.residual == 0 else pair.residual / abs(relative_to) if relative_to else None,
        f"{name}.hvps": pair.products,
        f"{name}.converged": pair.converged,
        f"{name}.tolerance": metric.tolerance,
        f"{name}.max_hvps": metric.max_hvps,
        **protocol(name, surface, seed, products=True),
    }

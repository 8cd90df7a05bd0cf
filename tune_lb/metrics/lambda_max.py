"""The largest eigenvalue of the Hessian of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from tune_lb.errors import RequestError
from tune_lb.metric import Value, generator, protocol, protocol_columns, unmeasured
from tune_lb.metrics.lanczos import largest_eigenpair
from tune_lb.surface import LossSurface


@dataclass(frozen=True)
class LambdaMax:
    """The most positive eigenvalue of the Hessian of the mean loss, by Lanczos with exact Hessian-vector products.

    lambda_max = max_v v^T H v / v^T v, H = Hessian of f(w) = (1/N) sum_i loss_i(w); nats per squared unit of weight.
    Full gradient descent with rate eta is stable where eta * lambda_max < 2 (Cohen et al., 2021).

    tolerance: relative residual |H v - lambda v| / |lambda| to stop at, in (0, 1).
    max_hvps: most Hessian-vector products, at least 1; where they do not suffice `converged` is false and the value a
    lower bound.
    max_samples: see Metric. Cost: 6 to 11 products on trained networks, about 20 gradients.
    """

    name: ClassVar[str] = "lambda_max"

    tolerance: float = 1e-3
    max_hvps: int = 100
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise RequestError(f"lambda_max.tolerance = {self.tolerance}: give a number between 0 and 1")
        if self.max_hvps < 1:
            raise RequestError(f"lambda_max.max_hvps = {self.max_hvps}: give at least 1")

    def columns(self) -> dict[str, str]:
        """See Metric."""
        return {
            "lambda_max": "largest eigenvalue of the Hessian of the mean loss, nats per squared unit of weight",
            "lambda_max.residual": "|H v - lambda v| / |lambda|; null where lambda is 0 and the residual is not",
            "lambda_max.hvps": "Hessian-vector products made",
            "lambda_max.converged": "whether the residual reached the tolerance (or rounding)",
            "lambda_max.tolerance": "relative residual asked for",
            "lambda_max.max_hvps": "most Hessian-vector products allowed",
            **protocol_columns(self.name),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the start vector."""
        start = torch.randn(surface.num_parameters, generator=generator(seed, self.name)).to(
            surface.device, surface.dtype
        )
        try:
            pair = largest_eigenpair(surface.hvp, start, tolerance=self.tolerance, max_products=self.max_hvps)
        except FloatingPointError as error:
            return unmeasured([self], str(error))
        relative = 0.0 if pair.residual == 0 else pair.residual / abs(pair.value) if pair.value else None
        return {
            "lambda_max": pair.value,
            "lambda_max.residual": relative,
            "lambda_max.hvps": pair.products,
            "lambda_max.converged": pair.converged,
            "lambda_max.tolerance": self.tolerance,
            "lambda_max.max_hvps": self.max_hvps,
            **protocol(self.name, surface, seed),
        }

"""How much the loss can rise within a ball around the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.errors import RequestError
from tune_lb.metrics.metric import Value, generator, protocol, protocol_columns, unmeasured
from tune_lb.surface.ball_ascent import Ascent
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class SamSharpness:
    """Worst-case sharpness: the highest rise of the loss in a ball around the weights, and that of SAM's own step.

    s = max { f(w + d) - f(w) : |d|_2 <= rho }, nats per example, >= 0; one step: d = rho g / |g|_2, g the gradient at w,
    which may be negative, and is 0 at g = 0. Near a minimum s is about rho^2 lambda_max / 2.

    The maximum is sought by the conditional-gradient ascent of tune_lb/surface/ball_ascent.py, whose first step is SAM's (a
    random one where g = 0), so s is a lower bound that grows with the steps. Source: Foret et al., 2021, eq. 1 and 2.
    Departure: the whole data set shares one perturbation (n-SAM), where training perturbs batch by batch.

    rho: radius, > 0, in the 2-norm of all weights. steps: evaluations after that of f(w), at least 1; a gradient each.
    max_samples: see Metric.
    Cost: at most steps + 1 gradients.
    """

    name: ClassVar[str] = "sam_sharpness"

    rho: float = 0.05
    steps: int = 10
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        if not (0 < self.rho < math.inf):
            raise RequestError(f"sam_sharpness.rho = {self.rho}: give a positive number")
        if self.steps < 1:
            raise RequestError(f"sam_sharpness.steps = {self.steps}: give at least 1")

    def columns(self) -> dict[str, str]:
        """See Metric."""
        return {
            "sam_sharpness": "highest rise of the mean loss found over |d|_2 <= rho, nats per example",
            "sam_sharpness.one_step": "rise after SAM's own step (may be negative), nats per example",
            "sam_sharpness.rho": "radius of the ball, in the 2-norm of all weights",
            "sam_sharpness.steps": "ascent steps made",
            "sam_sharpness.start": "direction of the first step: gradient, or random where it is zero",
            **protocol_columns(self.name),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the direction that replaces a zero gradient."""
        weights = surface.point
        at_weights, gradient = surface.value_and_gradient()
        start = "gradient" if gradient.any() else "random"
        direction = gradient
        if start == "random":
            draws = torch.randn(surface.num_parameters, generator=generator(seed, self.name))
            direction = draws.to(gradient)

        def f(u: Tensor) -> tuple[float, Tensor]:
            return surface.value_and_gradient(weights + u)

        ascent = Ascent(f, self.rho, "l2")
        try:
            highest = ascent.run(direction, self.steps)
        except FloatingPointError as error:
            return unmeasured([self], str(error))
        return {
            "sam_sharpness": max(0.0, highest - at_weights),
            "sam_sharpness.one_step": ascent.values[0] - at_weights if start == "gradient" else 0.0,
            "sam_sharpness.rho": self.rho,
            "sam_sharpness.steps": len(ascent.values),
            "sam_sharpness.start": start,
            **protocol(self.name, surface, seed),
        }

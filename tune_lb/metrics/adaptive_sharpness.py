"""How much the loss can rise when every weight moves in proportion to its size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.errors import RequestError
from tune_lb.metrics.metric import Value, generator, protocol, protocol_columns, unmeasured
from tune_lb.surface.ball_ascent import Ascent
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class AdaptiveSharpness:
    """Worst-case adaptive sharpness in L2: the highest rise of the loss over an ellipsoid with half-axes rho |w_i|.

    s = max { f(w + d) - f(w) : |T^-1 d|_2 <= rho }, T = diag(|w|); nats per example, >= 0. Rescaling weights so that
    the function stays the same (a ReLU's inputs by a, its outputs by 1/a) leaves s the same, unlike lambda_max.

    Maximised over d = T u by unit steps of the normalised gradient, u <- rho T g / |T g| with g the gradient at w + T
    u, from u = 0; the best point is kept. No step size; where f is convex no step goes down, and the first is the
    closed form rho T^2 g / |T g| of ASAM. At a point with T g = 0 the ascent starts from a random u on the sphere.

    linf_rho: None, or the radius of a box in which the highest rise is sought as well: |d_i| <= linf_rho |w_i|, by the
    conditional gradients of tune_lb/surface/ball_ascent.py, steps of them, the first to the corner sign(g). Its columns are
    `adaptive_sharpness.linf` and `.linf_<field>`; 0.002 is usual.

    Source: Kwon et al., 2021, definition 2 (elementwise T); fixed steps keeping the best as in
    Andriushchenko et al., 2023. Departures: every trainable parameter is scaled, biases included; nothing is added to
    |w|, so weights at 0 stay.

    rho: radius, > 0; with n parameters a weight moves by rho / sqrt(n) of its size in the mean square.
    steps: evaluations after f(w) and its gradient, at least 1; each is one gradient, the last one value.
    max_samples: see Metric.
    Cost: at most as many gradients as steps, and one value; with linf_rho as many gradients again.
    """

    name: ClassVar[str] = "adaptive_sharpness"

    rho: float = 0.5
    steps: int = 5
    max_samples: int | None = 2048
    linf_rho: float | None = field(default=None, metadata={"added_later": True})

    def __post_init__(self) -> None:
        if not (0 < self.rho < math.inf):
            raise RequestError(f"adaptive_sharpness.rho = {self.rho}: give a positive number")
        if self.linf_rho is not None and not (0 < self.linf_rho < math.inf):
            raise RequestError(f"adaptive_sharpness.linf_rho = {self.linf_rho}: give a positive number, or None")
        if self.steps < 1:
            raise RequestError(f"adaptive_sharpness.steps = {self.steps}: give at least 1")

    def columns(self) -> dict[str, str]:
        """See Metric."""
        box = {
            "adaptive_sharpness.linf": "highest rise of the mean loss found over |d_i| <= rho |w_i|, nats per example",
            "adaptive_sharpness.linf_one_step": "rise at the corner sign(gradient) of the box, nats per example",
            "adaptive_sharpness.linf_rho": "half-width of the box in units of |w|",
            "adaptive_sharpness.linf_steps": "ascent steps made in the box",
        }
        return {
            "adaptive_sharpness": "highest rise of the mean loss found over |d / |w||_2 <= rho, nats per example",
            "adaptive_sharpness.one_step": "rise after the first step alone (may be negative), nats per example",
            "adaptive_sharpness.rho": "radius of the ellipsoid in units of |w|",
            "adaptive_sharpness.steps": "ascent steps made",
            "adaptive_sharpness.start": "direction of the first step: gradient, or random where it is zero",
            **(box if self.linf_rho is not None else {}),
            **protocol_columns(self.name),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the direction that replaces a zero gradient."""
        weights = surface.point
        scale = weights.abs()
        at_weights, gradient = surface.value_and_gradient()
        start = "gradient"
        first = direction = scale * gradient
        if not direction.any():
            start = "random"
            draws = torch.randn(surface.num_parameters, generator=generator(seed, self.name))
            first = direction = scale.sign() * draws.to(scale)
        rises: list[float] = []
        for step in range(self.steps):
            # Divided by the largest entry first: squares of a gradient near 1e-25 would be 0 in float32.
            direction = direction / direction.abs().max().clamp_min(torch.finfo(direction.dtype).tiny)
            point = weights + self.rho * scale * direction / direction.norm().clamp_min(
                torch.finfo(direction.dtype).tiny
            )
            if step + 1 == self.steps:
                value = surface.value(point)
            else:
                value, gradient = surface.value_and_gradient(point)
                direction = scale * gradient
            rises.append(value - at_weights)
            if not math.isfinite(value):
                return unmeasured([self], f"the loss is {value} at distance rho = {self.rho} from the weights")
            if not direction.any():
                break
        box: dict[str, Value] = {}
        if self.linf_rho is not None:
            try:
                box = self._in_the_box(surface, first, self.linf_rho)
            except FloatingPointError as error:
                return unmeasured([self], str(error))
        return {
            "adaptive_sharpness": max(0.0, *rises),
            "adaptive_sharpness.one_step": rises[0],
            "adaptive_sharpness.rho": self.rho,
            "adaptive_sharpness.steps": len(rises),
            "adaptive_sharpness.start": start,
            **box,
            **protocol(self.name, surface, seed),
        }

    def _in_the_box(self, surface: LossSurface, first: Tensor, rho: float) -> dict[str, Value]:
        weights, at_weights = surface.point, surface.value()
        scale = weights.abs()

        def f(u: Tensor) -> tuple[float, Tensor]:
            value, gradient = surface.value_and_gradient(weights + scale * u)
            return value, scale * gradient

        ascent = Ascent(f, rho, "linf")
        highest = ascent.run(first, self.steps)
        return {
            "adaptive_sharpness.linf": max(0.0, highest - at_weights),
            "adaptive_sharpness.linf_one_step": ascent.values[0] - at_weights,
            "adaptive_sharpness.linf_rho": rho,
            "adaptive_sharpness.linf_steps": len(ascent.values),
        }

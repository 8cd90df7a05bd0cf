"""The highest value of a loss in a ball, by steps towards the point of the ball that the gradient prefers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["l2", "linf"]


class Ascent:
    """Ascends f over the ball |u|_p <= rho from u = 0, by conditional gradients; remembers every value.

    Each step goes to s(g), the point of the ball where g^T u is largest (rho g / |g|_2, or rho sign(g)), g the gradient
    at the last point; where that lowers f, half as far, and so on. Where f is convex no step to s lowers it. The first
    step is taken whatever it gives: with p = 2 it is the step of SAM. Source: Frank and Wolfe, 1956; the full step on a
    convex f is the generalised power method (Journee et al., 2010).

    f: u -> (value, gradient by u). Cost: one gradient for each step. Raises FloatingPointError where f is not finite.
    """

    def __init__(self, f: Callable[[Tensor], tuple[float, Tensor]], rho: float, norm: Norm) -> None:
        self._f, self.rho, self.norm = f, rho, norm
        self.values: list[float] = []

    def run(self, direction: Tensor, steps: int) -> float:
        """Return the highest of so many values, the first at s(direction)."""
        u, target, share, current = torch.zeros_like(direction), self.furthest(direction), 1.0, -math.inf
        for _ in range(steps):
            candidate = u + share * (target - u)
            value, gradient = self._f(candidate)
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss is {value} within the ball of radius {self.rho}")
            self.values.append(value)
            if value < current:
                share /= 2
                continue
            u, current, share = candidate, value, min(1.0, 2 * share)
            if not gradient.any():
                break
            target = self.furthest(gradient)
        return max(self.values)

    def furthest(self, gradient: Tensor) -> Tensor:
        """Return the point of the ball where gradient^T u is largest; 0 for a zero gradient."""
        if self.norm == "linf":
            return self.rho * gradient.sign()
        tiny = torch.finfo(gradient.dtype).tiny
        # divided by the largest entry first: squares of a gradient near 1e-25 would be 0 in float32
        scaled = gradient / gradient.abs().max().clamp_min(tiny)
        furthest: Tensor = self.rho * scaled / scaled.norm().clamp_min(tiny)
        return furthest

"""How much the loss rises on average under small random changes of the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from tune_lb.errors import RequestError
from tune_lb.metrics.metric import Value, generator, protocol, protocol_columns, unmeasured
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class AverageSharpness:
    """Average-case sharpness: the mean rise of the loss under Gaussian changes of the weights, with its standard error.

    s = E f(w + d) - f(w), d ~ N(0, sigma^2 I), or N(0, sigma^2 diag(w^2)) if adaptive; nats per example. To second order
    s = sigma^2 tr(H) / 2 (adaptive: sigma^2 sum_i H_ii w_i^2 / 2), so that it may be negative.

    Each draw is used with both signs: the gradient's share cancels exactly. Source: Andriushchenko et al., 2023,
    section 2, average-case sharpness (there without the pairs).

    sigma: standard deviation of each weight's change (adaptive: in units of |w_i|), > 0.
    adaptive: changes in proportion to the size of each weight, d_i ~ N(0, sigma^2 w_i^2); weights at 0 stay.
    pairs: draws, at least 2; two values each. max_samples: see Metric.
    Cost: 2 pairs + 1 values of the loss, no gradient.
    """

    name: ClassVar[str] = "average_sharpness"

    sigma: float = 0.01
    adaptive: bool = False
    pairs: int = 20
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        if not (0 < self.sigma < math.inf):
            raise RequestError(f"average_sharpness.sigma = {self.sigma}: give a positive number")
        if self.pairs < 2:
            raise RequestError(f"average_sharpness.pairs = {self.pairs}: give at least 2, for a standard error")

    def columns(self) -> dict[str, str]:
        """See Metric."""
        return {
            "average_sharpness": "mean rise of the loss under Gaussian changes of the weights, nats per example",
            "average_sharpness.standard_error": "standard error of that mean, from the draws, nats per example",
            "average_sharpness.sigma": "standard deviation of a weight's change; adaptive: in units of |w|",
            "average_sharpness.adaptive": "whether changes are in proportion to the weights",
            "average_sharpness.evaluations": "values of the mean loss taken, two for each draw",
            **protocol_columns(self.name),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the changes."""
        weights, at_weights = surface.point, surface.value()
        scale = self.sigma * weights.abs() if self.adaptive else torch.full_like(weights, self.sigma)
        draws = generator(seed, self.name)
        rises = []
        for _ in range(self.pairs):
            # drawn in float32 on the CPU whatever dtype and device: the same changes everywhere
            change = scale * torch.randn(surface.num_parameters, generator=draws).to(weights)
            rises.append((surface.value(weights + change) + surface.value(weights - change)) / 2 - at_weights)
            if not math.isfinite(rises[-1]):
                return unmeasured([self], f"the loss is not finite within a few sigma = {self.sigma} of the weights")
        found = torch.tensor(rises, dtype=torch.float64)
        return {
            "average_sharpness": float(found.mean()),
            "average_sharpness.standard_error": float(found.std()) / math.sqrt(self.pairs),
            "average_sharpness.sigma": self.sigma,
            "average_sharpness.adaptive": self.adaptive,
            "average_sharpness.evaluations": 2 * self.pairs,
            **protocol(self.name, surface, seed),
        }

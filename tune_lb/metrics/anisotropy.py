"""Along how many directions of a small box the loss rises steeply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from tune_lb.errors import RequestError
from tune_lb.metrics.keskar import Keskar, label
from tune_lb.metrics.metric import Value, generator, protocol, protocol_columns, unmeasured
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class Anisotropy:
    """The share of random directions along which the loss rises by a good part of the highest rise in Keskar's box.

    a = share of s with f(x + y_s) - f(x) > share * max_{y in C} (f(x + y) - f(x)), C = { y : |y_i| <= eps (|x_i| + 1) },
    y_s the corner of C with random signs s; fraction in [0, 1]. Small: steep along few directions only. The maximum is
    that of the Keskar metric in the full space from x and from the corner sign(gradient).

    Source: Keskar et al., 2017 ("it rises steeply only along a small dimensional subspace, e.g. 5 % of the whole space"),
    who do not say how directions were drawn or where steep begins: corners and `share` are ours.

    eps: box size, > 0. share: of the highest rise, in (0, 1). num_directions: at least 1; the standard error of a is
    sqrt(a (1 - a) / num_directions). max_samples: see Metric. Cost: num_directions values and about 25 gradients.
    """

    name: ClassVar[str] = "anisotropy"

    eps: float = 1e-3
    share: float = 0.1
    num_directions: int = 100
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise RequestError(f"anisotropy.share = {self.share}: give a number between 0 and 1")
        if self.num_directions < 1:
            raise RequestError(f"anisotropy.num_directions = {self.num_directions}: give at least 1")
        if not 0 < self.eps < float("inf"):
            raise RequestError(f"anisotropy.eps = {self.eps}: give a positive number")

    def columns(self) -> dict[str, str]:
        """See Metric."""
        return {
            "anisotropy": "share of random directions of the box along which the loss rises steeply, fraction",
            "anisotropy.mean_rise": "mean rise over the directions, of the highest rise in the box, fraction",
            "anisotropy.phi": "highest rise of the loss found in the box, percent of 1 + loss",
            "anisotropy.eps": "box size",
            "anisotropy.share": "share of the highest rise above which a rise is steep",
            "anisotropy.num_directions": "directions drawn",
            **protocol_columns(self.name),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the directions."""
        keskar = Keskar(eps=(self.eps,), spaces=("full",), starts=("x", "corner"))
        found = keskar.measure(surface, seed)
        phi = found[f"keskar.full_{label(self.eps)}"]
        if not isinstance(phi, float):
            return unmeasured([self], str(found["keskar.reason"]))
        if phi == 0:
            return unmeasured([self], "the loss rises nowhere in the box")
        at_weights, weights = surface.value(), surface.point
        highest = phi * (1 + at_weights) / 100
        widths = self.eps * (weights.abs() + 1)
        draws = generator(seed, self.name)
        rises = []
        for _ in range(self.num_directions):
            signs = 2 * torch.randint(2, (surface.num_parameters,), generator=draws, dtype=torch.int8) - 1
            rises.append((surface.value(weights + widths * signs.to(weights)) - at_weights) / highest)
        return {
            "anisotropy": sum(rise > self.share for rise in rises) / self.num_directions,
            "anisotropy.mean_rise": sum(rises) / self.num_directions,
            "anisotropy.phi": phi,
            "anisotropy.eps": self.eps,
            "anisotropy.share": self.share,
            "anisotropy.num_directions": self.num_directions,
            **protocol(self.name, surface, seed),
        }

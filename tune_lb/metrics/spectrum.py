"""The density of the Hessian's eigenvalues."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tune_lb.errors import RequestError
from tune_lb.metrics.eigenvalue_columns import random_vector
from tune_lb.metrics.metric import Value, protocol, protocol_columns, unmeasured
from tune_lb.surface.lanczos import Lanczos
from tune_lb.surface.loss_surface import LossSurface

NEAR_ZERO = 1e-3
"""Eigenvalues below this share of the largest in magnitude count as zero in `negative` and `positive`."""


@dataclass(frozen=True)
class Spectrum:
    """The density of the eigenvalues of the Hessian of the mean loss, by stochastic Lanczos quadrature.

    p(x) = (1/n) sum_i delta(x - lambda_i), estimated as (1/M) sum_m sum_j w_mj delta(x - theta_mj): theta_mj the
    eigenvalues of the Lanczos matrix from the m-th random start, w_mj the squared first components of its vectors. Stored
    are nodes and weights, the weights adding up to 1, as two JSON lists with 5 digits, ascending; a plot smooths
    them, sum_j w_j normal(x; theta_j, sigma), with whatever sigma. Moments up to degree 2 steps - 1 are exact for
    each start. Source: Lin, Saad and Yang, 2016; Ghorbani, Krishnan and Xiao, 2019.

    steps: products from each start, at least 2. starts: random starts M, at least 1.
    max_samples: see Metric. Cost: steps * starts products, memory n * steps.
    """

    name: ClassVar[str] = "spectrum"

    steps: int = 30
    starts: int = 3
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        if self.steps < 2 or self.starts < 1:
            raise RequestError(
                f"spectrum: steps = {self.steps}, starts = {self.starts}: give at least 2 and at least 1"
            )

    def columns(self) -> dict[str, str]:
        """See Metric."""
        unit = "nats per squared unit of weight"
        return {
            "spectrum.nodes": f"eigenvalues of the estimated density, {unit}, ascending; JSON list",
            "spectrum.weights": "share of the eigenvalues at each node; JSON list",
            "spectrum.mean": f"mean eigenvalue of the density (trace / n), {unit}",
            "spectrum.standard_deviation": f"standard deviation of the density, {unit}",
            "spectrum.negative": f"share of eigenvalues below -{NEAR_ZERO:g} of the largest in magnitude, fraction",
            "spectrum.positive": f"share of eigenvalues above {NEAR_ZERO:g} of the largest in magnitude, fraction",
            "spectrum.hvps": "Hessian-vector products made",
            "spectrum.steps": "products from each start",
            "spectrum.starts": "random starts",
            **protocol_columns(self.name, products=True),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the start vectors."""
        nodes, weights, hvps = [], [], 0
        for index in range(self.starts):
            start = random_vector(surface, seed, self.name, index)
            run = Lanczos(surface.hvp, start, max_steps=self.steps)
            try:
                while run.steps < run.max_steps and not run.exhausted:
                    run.advance()
            except FloatingPointError as error:
                return unmeasured([self], str(error))
            nodes.append(run.values)
            weights.append(run.weight() / self.starts)
            hvps += run.steps
        node, weight = np.concatenate(nodes), np.concatenate(weights)
        order = np.argsort(node)
        node, weight = node[order], weight[order]
        mean = float(weight @ node)
        threshold = NEAR_ZERO * float(np.abs(node).max())
        return {
            "spectrum.nodes": _short(node),
            "spectrum.weights": _short(weight),
            "spectrum.mean": mean,
            "spectrum.standard_deviation": float(np.sqrt(weight @ (node - mean) ** 2)),
            "spectrum.negative": float(weight[node < -threshold].sum()),
            "spectrum.positive": float(weight[node > threshold].sum()),
            "spectrum.hvps": hvps,
            "spectrum.steps": self.steps,
            "spectrum.starts": self.starts,
            **protocol(self.name, surface, seed, products=True),
        }


def _short(values: np.ndarray) -> str:
    return json.dumps([float(f"{value:.5g}") for value in values])

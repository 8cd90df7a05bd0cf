"""The largest Hessian eigenvalue of each layer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.metrics.eigenvalue_columns import check
from tune_lb.metrics.metric import Value, generator, protocol, protocol_columns, unmeasured
from tune_lb.surface.lanczos import largest_eigenpair
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class LayerLambdaMax:
    """The largest eigenvalue of the diagonal block of the Hessian that belongs to each layer, by Lanczos in the block.

    lambda_l = max_v v^T H_ll v / v^T v, v over the parameters of one module (weight and bias together); nats per squared
    unit of weight. Each is at most lambda_max. The main value is the largest of them.

    Source: the definition; the method as in lambda_max.

    tolerance, max_hvps: for each layer, see lambda_max. max_samples: see Metric.
    Cost: about 10 products per layer, each as dear as one of the whole Hessian.
    """

    name: ClassVar[str] = "layer_lambda_max"

    tolerance: float = 1e-2
    max_hvps: int = 100
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        check(self)

    def columns(self) -> dict[str, str]:
        """See Metric."""
        unit = "nats per squared unit of weight"
        return {
            "layer_lambda_max": f"largest of the layers' largest Hessian eigenvalues, {unit}",
            "layer_lambda_max.layers": f"largest eigenvalue of each layer's block, {unit}, by module name; JSON object",
            "layer_lambda_max.hvps": "Hessian-vector products made",
            "layer_lambda_max.converged": "whether the residual reached the tolerance in every layer",
            "layer_lambda_max.tolerance": "relative residual asked for",
            "layer_lambda_max.max_hvps": "most Hessian-vector products allowed for a layer",
            **protocol_columns(self.name, products=True),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the start vectors."""
        pairs = {}
        for layer, place in blocks(surface).items():

            def product(v: Tensor, place: slice = place) -> Tensor:
                whole = torch.zeros(surface.num_parameters, dtype=surface.dtype, device=surface.device)
                whole[place] = v
                return surface.hvp(whole)[place]

            draws = torch.randn(place.stop - place.start, generator=generator(seed, f"{self.name}/{layer}"))
            start = draws.to(surface.device, surface.dtype)
            try:
                pairs[layer] = largest_eigenpair(product, start, tolerance=self.tolerance, max_products=self.max_hvps)
            except FloatingPointError as error:
                return unmeasured([self], f"layer {layer}: {error}")
        values = {layer: pair.value for layer, pair in pairs.items()}
        return {
            "layer_lambda_max": max(values.values()),
            "layer_lambda_max.layers": json.dumps({layer: float(f"{value:.6g}") for layer, value in values.items()}),
            "layer_lambda_max.hvps": sum(pair.products for pair in pairs.values()),
            "layer_lambda_max.converged": all(pair.converged for pair in pairs.values()),
            "layer_lambda_max.tolerance": self.tolerance,
            "layer_lambda_max.max_hvps": self.max_hvps,
            **protocol(self.name, surface, seed, products=True),
        }


def blocks(surface: LossSurface) -> dict[str, slice]:
    """Return where the parameters of each module lie in the flat vector, by the module's name."""
    found: dict[str, slice] = {}
    at = 0
    for name, part in surface.unflatten(surface.point).items():
        layer = name.rpartition(".")[0] or name
        first = found[layer].start if layer in found and found[layer].stop == at else at
        if layer in found and first == at:
            layer = name
        at += part.numel()
        found[layer] = slice(first, at)
    return found

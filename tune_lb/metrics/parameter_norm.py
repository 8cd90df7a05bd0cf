"""How long the vector of weights is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from tune_lb.metrics.metric import Value, protocol, protocol_columns
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class ParameterNorm:
    """The Euclidean norm |w|_2 of all trainable weights, their largest magnitude and, on request, each parameter's norm.

    |w|_2 = sqrt(sum_i w_i^2), parameter_norm.largest = max_i |w_i|; in units of weight.

    Source: the definition.

    layers: add `parameter_norm.layers`, the norms by parameter name as a JSON object.
    max_samples: see Metric; the examples matter for the loss in the protocol alone. Cost: none.
    """

    name: ClassVar[str] = "parameter_norm"

    layers: bool = False
    max_samples: int | None = None

    def columns(self) -> dict[str, str]:
        """See Metric."""
        layers = {"parameter_norm.layers": "norm of each parameter, JSON object by name"} if self.layers else {}
        return {
            "parameter_norm": "Euclidean norm of all trainable weights",
            "parameter_norm.largest": "largest magnitude of a weight",
            "parameter_norm.num_parameters": "trainable weights",
            **layers,
            **protocol_columns(self.name),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; nothing is drawn."""
        point = surface.point.double()
        row: dict[str, Value] = {
            "parameter_norm": float(point.norm()),
            "parameter_norm.largest": float(point.abs().max()),
            "parameter_norm.num_parameters": surface.num_parameters,
        }
        if self.layers:
            norms = {name: float(part.double().norm()) for name, part in surface.unflatten(surface.point).items()}
            row["parameter_norm.layers"] = json.dumps(norms)
        return row | protocol(self.name, surface, seed)

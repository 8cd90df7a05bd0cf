"""The largest Hessian eigenvalue of the loss of a batch, averaged over batches."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import ClassVar

import torch

from tune_lb.errors import RequestError
from tune_lb.metrics.eigenvalue_columns import check, random_vector
from tune_lb.metrics.metric import Value, protocol, protocol_columns, unmeasured
from tune_lb.surface.lanczos import largest_eigenpair
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class BatchLambdaMax:
    """The mean over batches of the largest eigenvalue of the Hessian of each batch's mean loss.

    batch_lambda_max = (1/M) sum_m lambda_max(H_m), H_m the Hessian over the m-th batch; nats per squared unit of weight.
    As lambda_max is convex in H it is at least the lambda_max of all data, whose Hessian is the mean of the H_m.

    Source: Hynes, "Towards Mini-Error with Maxi-Batch SGD", figure 4, over the test set in batches of 500.

    batch_size: examples in a batch, in the order of the data; a last batch that is smaller is left out.
    tolerance, max_hvps: of each batch, see lambda_max. max_samples: see Metric. Cost: about 10 products per batch.
    """

    name: ClassVar[str] = "batch_lambda_max"

    batch_size: int = 500
    tolerance: float = 1e-2
    max_hvps: int = 100
    max_samples: int | None = None

    def __post_init__(self) -> None:
        check(self)
        if self.batch_size < 1:
            raise RequestError(f"batch_lambda_max.batch_size = {self.batch_size}: give at least 1")

    def columns(self) -> dict[str, str]:
        """See Metric."""
        return {
            "batch_lambda_max": "mean over batches of the largest Hessian eigenvalue, nats per squared unit of weight",
            "batch_lambda_max.standard_deviation": "over batches; null for one batch",
            "batch_lambda_max.batch_size": "examples in a batch",
            "batch_lambda_max.num_batches": "batches measured",
            "batch_lambda_max.hvps": "Hessian-vector products made, of one batch each",
            "batch_lambda_max.converged": "whether the residual reached the tolerance in every batch",
            "batch_lambda_max.tolerance": "relative residual asked for",
            "batch_lambda_max.max_hvps": "most Hessian-vector products allowed for a batch",
            **protocol_columns(self.name, products=True),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the start vector, the same for all batches."""
        num_batches = surface.num_samples // self.batch_size
        if not num_batches:
            reason = f"batch_size = {self.batch_size}, but there are {surface.num_samples} examples"
            return unmeasured([self], reason)
        start = random_vector(surface, seed, self.name)
        pairs = []
        for i in range(num_batches):
            index = torch.arange(i * self.batch_size, (i + 1) * self.batch_size)
            limits = {"tolerance": self.tolerance, "max_products": self.max_hvps}
            try:
                with surface.part(index) as part:
                    pairs.append(largest_eigenpair(part.hvp, start, **limits))  # type: ignore[arg-type]
            except FloatingPointError as error:
                return unmeasured([self], f"batch {i}: {error}")
        values = [pair.value for pair in pairs]
        return {
            "batch_lambda_max": statistics.fmean(values),
            "batch_lambda_max.standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
            "batch_lambda_max.batch_size": self.batch_size,
            "batch_lambda_max.num_batches": num_batches,
            "batch_lambda_max.hvps": sum(pair.products for pair in pairs),
            "batch_lambda_max.converged": all(pair.converged for pair in pairs),
            "batch_lambda_max.tolerance": self.tolerance,
            "batch_lambda_max.max_hvps": self.max_hvps,
            **protocol(self.name, surface, seed, products=True),
        }

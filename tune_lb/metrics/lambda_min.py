"""The smallest eigenvalue of the Hessian of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_lb.metrics.eigenvalue_columns import check, iteration_columns, iteration_row, random_vector
from tune_lb.metrics.metric import Value, unmeasured
from tune_lb.surface.lanczos import largest_eigenpair
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class LambdaMin:
    """The most negative eigenvalue of the Hessian of the mean loss: minus lambda_max of -H, by Lanczos.

    lambda_min = min_v v^T H v / v^T v; nats per squared unit of weight. Negative where the point is a saddle; near 0, where
    the bulk of a network's spectrum is, it takes more products than lambda_max.

    Source: the definition; the method as in lambda_max.

    tolerance: relative residual |H v - lambda v| / |lambda| to stop at, in (0, 1).
    max_hvps: most Hessian-vector products, at least 1; where they do not suffice `converged` is false and the value an
    upper bound.
    max_samples: see Metric.
    Cost: at most max_hvps products, each 1.3 to 2.2 gradients; more of them than lambda_max takes where curvature is hardly
    negative.
    """

    name: ClassVar[str] = "lambda_min"

    tolerance: float = 1e-3
    max_hvps: int = 100
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        check(self)

    def columns(self) -> dict[str, str]:
        """See Metric."""
        text = "smallest eigenvalue of the Hessian of the mean loss, nats per squared unit of weight"
        return {"lambda_min": text, **iteration_columns(self.name, "lambda")}

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the start vector."""
        start = random_vector(surface, seed, self.name)
        limits = {"tolerance": self.tolerance, "max_products": self.max_hvps}
        try:
            pair = largest_eigenpair(lambda v: -surface.hvp(v), start, **limits)  # type: ignore[arg-type]
        except FloatingPointError as error:
            return unmeasured([self], str(error))
        # 0 - x: a zero Hessian has 0, not -0
        return {"lambda_min": 0.0 - pair.value, **iteration_row(self, pair, pair.value, surface, seed)}

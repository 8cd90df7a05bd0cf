"""The largest eigenvalue in magnitude of the Hessian of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_lb.metrics.eigenvalue_columns import check, iteration_columns, iteration_row, random_vector
from tune_lb.metrics.metric import Value, unmeasured
from tune_lb.surface.lanczos import smallest_and_largest
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class SpectralNorm:
    """The spectral norm of the Hessian of the mean loss: max(|lambda_max|, |lambda_min|), both from one Lanczos run.

    |H|_2 = max_v |H v| / |v|; nats per squared unit of weight. It is lambda_max unless negative curvature dominates.
    Source: Xing et al., 2018, figures 3 and 6.

    tolerance: residual of both ends relative to the norm, in (0, 1): the end of smaller magnitude is less exact.
    max_hvps: most Hessian-vector products, at least 1; where they do not suffice `converged` is false.
    max_samples: see Metric. Cost: as lambda_max or a few products more.
    """

    name: ClassVar[str] = "spectral_norm"

    tolerance: float = 1e-3
    max_hvps: int = 100
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        check(self)

    def columns(self) -> dict[str, str]:
        """See Metric."""
        unit = "nats per squared unit of weight"
        return {
            "spectral_norm": f"largest eigenvalue in magnitude of the Hessian of the mean loss, {unit}",
            "spectral_norm.largest": f"largest eigenvalue found by the same run, {unit}",
            "spectral_norm.smallest": f"smallest eigenvalue found by the same run, {unit}",
            **iteration_columns(self.name, "spectral_norm"),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the start vector."""
        start = random_vector(surface, seed, self.name)
        try:
            ends = smallest_and_largest(surface.hvp, start, tolerance=self.tolerance, max_products=self.max_hvps)
        except FloatingPointError as error:
            return unmeasured([self], str(error))
        pair = max(ends, key=lambda end: abs(end.value))
        return {
            "spectral_norm": abs(pair.value),
            "spectral_norm.largest": ends[1].value,
            "spectral_norm.smallest": ends[0].value,
            **iteration_row(self, pair, pair.value, surface, seed),
        }

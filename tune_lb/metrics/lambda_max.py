"""The largest eigenvalue of the Hessian of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_lb.metrics.eigenvalue_columns import check, iteration_columns, iteration_row, random_vector
from tune_lb.metrics.metric import Value, unmeasured
from tune_lb.surface.lanczos import Lanczos, largest_eigenpair, largest_found
from tune_lb.surface.loss_surface import LossSurface
from tune_lb.surface.member_surfaces import MemberSurfaces


@dataclass(frozen=True)
class LambdaMax:
    """The most positive eigenvalue of the Hessian of the mean loss, by Lanczos with exact Hessian-vector products.

    lambda_max = max_v v^T H v / v^T v, H = Hessian of f(w) = (1/N) sum_i loss_i(w); nats per squared unit of weight.
    Full gradient descent with rate eta is stable where eta * lambda_max < 2 (Cohen et al., 2021).

    Source: the sharpness of Cohen et al., 2021; the method Lanczos, 1950, with full reorthogonalization
    (tune_lb/surface/lanczos.py).

    tolerance: relative residual |H v - lambda v| / |lambda| to stop at, in (0, 1).
    max_hvps: most Hessian-vector products, at least 1; where they do not suffice `converged` is false and the value a
    lower bound.
    max_samples: see Metric. Cost: 6 to 11 products on trained networks, about 20 gradients.
    """

    name: ClassVar[str] = "lambda_max"

    tolerance: float = 1e-3
    max_hvps: int = 100
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        check(self)

    def columns(self) -> dict[str, str]:
        """See Metric."""
        text = "largest eigenvalue of the Hessian of the mean loss, nats per squared unit of weight"
        return {"lambda_max": text, **iteration_columns(self.name, "lambda")}

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the start vector."""
        start = random_vector(surface, seed, self.name)
        try:
            pair = largest_eigenpair(surface.hvp, start, tolerance=self.tolerance, max_products=self.max_hvps)
        except FloatingPointError as error:
            return unmeasured([self], str(error))
        return {"lambda_max": pair.value, **iteration_row(self, pair, pair.value, surface, seed)}

    def measure_members(self, surfaces: MemberSurfaces, seed: int) -> list[dict[str, Value]]:
        """Return what measure returns for each member, the runs side by side: a member that has converged drops out."""
        rows: list[dict[str, Value]] = []
        runs: dict[int, Lanczos] = {}
        for k, surface in enumerate(surfaces.surfaces):
            defect = surface.defect()
            rows.append(unmeasured([self], defect or ""))
            if defect is None:
                start = random_vector(surface, seed, self.name)
                runs[k] = Lanczos(surface.hvp, start, max_steps=self.max_hvps)
        while runs:
            products = surfaces.hvps({k: run.following() for k, run in runs.items()})
            for k, run in list(runs.items()):
                try:
                    run.take(products[k])
                except FloatingPointError as error:
                    rows[k] = unmeasured([self], str(error))
                    del runs[k]
                    continue
                pair = largest_found(run, self.tolerance)
                if pair is not None:
                    row: dict[str, Value] = {"lambda_max": pair.value}
                    rows[k] = row | iteration_row(self, pair, pair.value, surfaces.surfaces[k], seed)
                    del runs[k]
        return rows

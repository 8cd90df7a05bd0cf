"""How many directions the curvature of the loss is spread over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tune_lb.metrics.metric import Value, unmeasured
from tune_lb.metrics.trace_columns import check, sample_columns, sample_row, surface_traces
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class ParticipationRatio:
    """The participation ratio of the Hessian's eigenvalues: how many directions share the curvature.

    r = (tr H)^2 / tr H^2: 1 where one eigenvalue is all, n where all n are equal; below 1 only where eigenvalues of both
    signs cancel. Both traces come from the same products (tune_lb/surface/traces.py); the standard error of r is that
    of the delta method without the correlation of the two, |r| sqrt((2 s / tr H)^2 + (s_2 / tr H^2)^2).

    Source: the definition; traces as in trace: Hutchinson, 1990; deflation as in Meyer et al., 2021 (Hutch++), by a Krylov
    space as in Chen and Hallman, 2023.

    deflate: products spent on the space in which the trace is exact, at least 1.
    min_probes: fewest random probes after that, at least 2: their spread is the standard error.
    relative_error: standard error to stop at, relative to the estimate, in (0, 1).
    max_hvps: most products, at least deflate + min_probes; where they do not suffice `converged` is false. A network with
    no more parameters than that is added up exactly.
    max_samples: see Metric.
    Cost: deflate + min_probes Hessian-vector products at least, max_hvps at most; memory deflate times the weights.
    """

    name: ClassVar[str] = "participation_ratio"

    deflate: int = 20
    min_probes: int = 10
    relative_error: float = 0.02
    max_hvps: int = 200
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        check(self)

    def columns(self) -> dict[str, str]:
        """See Metric."""
        return {
            "participation_ratio": "(tr H)^2 / tr H^2, directions; 0 for a zero Hessian",
            "participation_ratio.standard_error": "standard error over random probes, directions",
            "participation_ratio.trace": "tr H, nats per squared unit of weight",
            "participation_ratio.trace_of_square": "tr H^2, squared nats per fourth power of the unit of weight",
            **sample_columns(self.name),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the start vector and the probes."""
        try:
            found = surface_traces(self, surface, seed, of_square=True)
        except FloatingPointError as error:
            return unmeasured([self], str(error))
        trace, squared = found.trace, found.squared
        ratio = trace**2 / squared if squared else 0.0
        # d(t^2 / q) = 2 t dt / q - t^2 dq / q^2
        parts = (2 * trace * found.standard_error, ratio * found.squared_standard_error)
        return {
            "participation_ratio": ratio,
            "participation_ratio.standard_error": math.hypot(*parts) / squared if squared else 0.0,
            "participation_ratio.trace": trace,
            "participation_ratio.trace_of_square": squared,
            **sample_row(self, found, surface, seed),
        }

"""The trace of the Hessian of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_lb.metrics.metric import Value, unmeasured
from tune_lb.metrics.trace_columns import check, sample_columns, sample_row, surface_traces
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class Trace:
    """The trace of the Hessian of the mean loss, the sum of its eigenvalues, with its standard error.

    tr H = tr T + E z^T H z: exact in a Krylov space, random signs in what is orthogonal to it (tune_lb/surface/traces.py);
    nats per squared unit of weight. Never stopped by how little a running mean moves, which says nothing about its error.

    Source: Hutchinson, 1990; deflation as in Meyer et al., 2021 (Hutch++), by a Krylov space as in Chen and Hallman, 2023.

    deflate: products spent on the space in which the trace is exact, at least 1.
    min_probes: fewest random probes after that, at least 2: their spread is the standard error.
    relative_error: standard error to stop at, relative to the estimate, in (0, 1).
    max_hvps: most products, at least deflate + min_probes; where they do not suffice `converged` is false. A network with
    no more parameters than that is added up exactly.
    max_samples: see Metric.
    Cost: deflate + min_probes Hessian-vector products at least, max_hvps at most; memory deflate times the weights.
    """

    name: ClassVar[str] = "trace"

    deflate: int = 20
    min_probes: int = 10
    relative_error: float = 0.01
    max_hvps: int = 200
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        check(self)

    def columns(self) -> dict[str, str]:
        """See Metric."""
        return {
            "trace": "trace of the Hessian of the mean loss, nats per squared unit of weight",
            "trace.standard_error": "standard error of the trace over random probes, nats per squared unit of weight",
            **sample_columns(self.name),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the start vector and the probes."""
        try:
            found = surface_traces(self, surface, seed, of_square=False)
        except FloatingPointError as error:
            return unmeasured([self], str(error))
        row: dict[str, Value] = {"trace": found.trace, "trace.standard_error": found.standard_error}
        return row | sample_row(self, found, surface, seed)

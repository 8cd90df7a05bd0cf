"""The largest eigenvalues of the Hessian of the loss."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import ClassVar

from tune_lb.errors import RequestError
from tune_lb.metrics.eigenvalue_columns import check, iteration_columns, iteration_row, random_vector
from tune_lb.metrics.metric import Value, unmeasured
from tune_lb.surface.lanczos import largest_eigenpairs
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class TopEigenvalues:
    """The k most positive eigenvalues of the Hessian of the mean loss, descending, equal ones as often as they occur.

    H v_i = lambda_i v_i, lambda_1 >= lambda_2 >= ... >= lambda_k, the v_i orthonormal; nats per squared unit of weight.

    One Lanczos run to k converged Ritz pairs, then a run in the space orthogonal to them, which finds what a single start
    vector cannot (a second vector of a double eigenvalue), until nothing larger is left. `residual` is the largest of all.

    Source: Lanczos, 1950, with full reorthogonalization, and deflation by what was found (tune_lb/surface/lanczos.py).

    k: how many, at least 1 and at most the number of parameters.
    tolerance: residual relative to the largest found, in (0, 1).
    max_hvps: most Hessian-vector products of all runs; where they do not suffice `converged` is false.
    max_samples: see Metric. Cost: 3 k to 6 k products, memory n times as many.
    """

    name: ClassVar[str] = "top_eigenvalues"

    k: int = 10
    tolerance: float = 1e-3
    max_hvps: int = 200
    max_samples: int | None = 2048

    def __post_init__(self) -> None:
        check(self)
        if self.k < 1:
            raise RequestError(f"top_eigenvalues.k = {self.k}: give at least 1")

    def columns(self) -> dict[str, str]:
        """See Metric."""
        text = "largest eigenvalue of the Hessian of the mean loss, nats per squared unit of weight"
        found = {f"top_eigenvalues.lambda_{i}": f"{_rank(i)}{text}" for i in range(1, self.k + 1)}
        return found | iteration_columns(self.name, "lambda_1")

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws the start vectors."""
        if self.k > surface.num_parameters:
            return unmeasured([self], f"k = {self.k}, but the network has {surface.num_parameters} parameters")
        index = itertools.count()
        limits = {"tolerance": self.tolerance, "max_products": self.max_hvps}
        try:
            pairs = largest_eigenpairs(
                surface.hvp,
                lambda: random_vector(surface, seed, self.name, next(index)),
                self.k,
                **limits,  # type: ignore[arg-type]
            )
        except FloatingPointError as error:
            return unmeasured([self], str(error))
        values: dict[str, Value] = dict.fromkeys(self.columns())
        values |= {f"top_eigenvalues.lambda_{i}": pair.value for i, pair in enumerate(pairs, 1)}
        worst = dataclasses.replace(pairs[0], residual=max(pair.residual for pair in pairs))
        return values | iteration_row(self, worst, pairs[0].value, surface, seed)


def _rank(i: int) -> str:
    """Return what stands before "largest": nothing for the first, then "2nd ", "3rd ", "4th ", ..."""
    ending = "th" if i % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(i % 10, "th")
    return "" if i == 1 else f"{i}{ending} "

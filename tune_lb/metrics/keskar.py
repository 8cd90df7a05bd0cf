"""Sharpness as Keskar et al. define it: the highest rise of the loss in a small box around the weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor

from tune_lb.errors import RequestError
from tune_lb.metrics.metric import Value, generator, protocol, protocol_columns, unmeasured
from tune_lb.surface.lanczos import largest_eigenpair
from tune_lb.surface.lbfgsb import lbfgsb
from tune_lb.surface.loss_surface import LossSurface

Space = Literal["full", "subspace"]
Start = Literal["x", "corner", "interior", "eigenvector", "-eigenvector"]
Mode = Literal["paper", "strong"]

STRONG: tuple[Start, ...] = get_args(Start)
"""Where the strong mode starts: everywhere."""

MAX_STORED_ELEMENTS = 2**28
"""Largest A that is kept in memory (1 GiB in float32); a larger one is drawn again, block by block, at every use."""

ROWS = 2**16
"""Rows of A in a block; each block has a generator of its own, so that stored and redrawn matrices are the same."""


@dataclass(frozen=True)
class Keskar:
    """Metric 2.1: the highest rise of the loss in a box around the weights x, in percent of 1 + f(x).

    phi = 100 (max_{y in C} f(x + A y) - f(x)) / (1 + f(x)), C = { y : |y_i| <= eps (|(A^+ x)_i| + 1) }; percent, >= 0.
    Space "full": A = I. Space "subspace": A (n, p) with independent standard normal entries, not normalised; A^+ x
    solves least squares. Maximised by L-BFGS-B on the raw variables in float64 from each start, with zero tolerances;
    the value is the best over all evaluations of all starts, so it is a lower bound of the maximum: a convex f is
    ascended by projected gradient steps of length 1, which one evaluation at the corner sign(gradient) often beats.
    `keskar.corner_<eps>` is phi at that corner.

    Source: Keskar et al., 2017, metric 2.1 and table 3: eps 1e-3 and 5e-4, p = 100, 10 iterations of L-BFGS-B. The
    paper leaves open the law of A, which scales the subspace values, and the start; its start x is ours. Departure:
    best evaluation, not the last.

    mode: "paper" goes from `starts`, which is x alone; "strong" from every start there is, and is several times as
    close to the maximum where the gradient is small. The two are not comparable: the column `keskar.mode` tells.
    eps: box sizes, > 0.
    spaces, starts: non-empty; start "corner" is the corner of the box where sign(y) = sign(A^T gradient), "interior" a
    random point of the box, "eigenvector" and "-eigenvector" the corners sign(A^T v), -sign(A^T v), v the top
    eigenvector of the Hessian (about 8 products, once).
    p: directions of the subspace, at most the number of parameters.
    max_iterations, max_evaluations: of L-BFGS-B, from each start; evaluations are bounded because at the
    kinks of a ReLU network a line search can go on for 20 of them without a gain.
    max_samples: see Metric; the paper takes all.
    Cost: for each eps and start about 11 gradients in the full space, 4 to 30 in a subspace; memory n p for A.
    """

    name: ClassVar[str] = "keskar"

    eps: tuple[float, ...] = (1e-3, 5e-4)
    spaces: tuple[Space, ...] = ("full", "subspace")
    starts: tuple[Start, ...] = ("x",)
    p: int = 100
    max_iterations: int = 10
    max_evaluations: int = 30
    max_samples: int | None = None
    mode: Mode = field(default="paper", metadata={"added_later": True})

    def __post_init__(self) -> None:
        if (
            not self.eps
            or not all(0 < eps < math.inf for eps in self.eps)
            or len(set(map(label, self.eps))) < len(self.eps)
        ):
            raise RequestError(f"keskar.eps = {self.eps}: give one or more different positive numbers")
        for what, given, known in (("spaces", self.spaces, get_args(Space)), ("starts", self.starts, get_args(Start))):
            if not given or len(set(given)) < len(given) or not set(given) <= set(known):
                raise RequestError(f"keskar.{what} = {given}: give one or more of {', '.join(known)}, each once")
        for what, number in (
            ("p", self.p),
            ("max_iterations", self.max_iterations),
            ("max_evaluations", self.max_evaluations),
        ):
            if number < 1:
                raise RequestError(f"keskar.{what} = {number}: give at least 1")
        if self.mode not in get_args(Mode):
            raise RequestError(f"keskar.mode = {self.mode!r}: give one of {', '.join(get_args(Mode))}")
        if self.mode == "strong" and self.starts != ("x",):
            raise RequestError(
                f"keskar: starts = {self.starts} with mode = 'strong', which goes from all: give one of them"
            )

    @property
    def all_starts(self) -> tuple[Start, ...]:
        """Where L-BFGS-B starts."""
        return STRONG if self.mode == "strong" else self.starts

    def columns(self) -> dict[str, str]:
        """See Metric."""
        described = {}
        for space in self.spaces:
            for eps in self.eps:
                key = f"keskar.{space}_{label(eps)}"
                where = "the full space" if space == "full" else f"a random subspace of {self.p} directions"
                described[key] = (
                    f"highest rise of the loss found in the box of size {label(eps)} in {where}, percent of 1 + loss"
                )
                described[f"{key}.evaluations"] = "evaluations of loss and gradient, all starts"
                described[f"{key}.iterations"] = "iterations of L-BFGS-B, all starts"
                described[f"{key}.stop"] = (
                    "why each start stopped: iterations, evaluations, projected_gradient, no_decrease, line_search"
                )
        for eps in self.eps:
            described[f"keskar.corner_{label(eps)}"] = (
                "the same at the one corner sign(gradient) of the full space, percent of 1 + loss"
            )
        return {
            **described,
            "keskar.mode": "paper: from x; strong: the best over every start",
            "keskar.starts": f"where L-BFGS-B starts: {', '.join(STRONG)}",
            "keskar.max_iterations": "most iterations of L-BFGS-B from each start",
            "keskar.max_evaluations": "most evaluations of L-BFGS-B from each start",
            "keskar.p": "directions of the subspace",
            "keskar.law": "law of the entries of A",
            **protocol_columns(self.name, products="eigenvector" in "".join(self.all_starts)),
        }

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; the seed draws A, the interior start and what the eigenvector is sought from."""
        if "subspace" in self.spaces and self.p > surface.num_parameters:
            return unmeasured(
                [self], f"p = {self.p} directions, but the network has {surface.num_parameters} parameters"
            )
        if surface.value() <= -1:
            return unmeasured([self], f"the loss is {surface.value()}: phi is for losses above -1")
        box = _Box(surface, seed)
        row: dict[str, Value] = {}
        try:
            for name in self.spaces:
                space = _Full() if name == "full" else GaussianSubspace(surface, self.p, seed)
                coordinates = space.coordinates(box.weights.to(surface.dtype)).double()
                for eps in self.eps:
                    widths = eps * (coordinates.abs() + 1)
                    key = f"keskar.{name}_{label(eps)}"
                    row.update({f"{key}{field}": value for field, value in self._maximize(box, space, widths).items()})
            for eps in self.eps:
                row[f"keskar.corner_{label(eps)}"] = box.corner(eps)
        except FloatingPointError as error:
            return unmeasured([self], str(error))
        return row | {
            "keskar.mode": self.mode,
            "keskar.starts": "+".join(self.all_starts),
            "keskar.max_iterations": self.max_iterations,
            "keskar.max_evaluations": self.max_evaluations,
            "keskar.p": self.p,
            "keskar.law": "normal(0, 1)",
            **protocol(self.name, surface, seed, products="eigenvector" in "".join(self.all_starts)),
        }

    def _maximize(self, box: _Box, space: _Space, widths: Tensor) -> dict[str, Value]:
        best, runs = box.at_weights, []
        for start in self.all_starts:
            ascent = _Ascent(box, space)
            first = widths * box.direction(start, space, len(widths))
            limits = {"max_iterations": self.max_iterations, "max_evaluations": self.max_evaluations}
            runs.append(lbfgsb(ascent, first, -widths, widths, **limits))
            best = max(best, ascent.best)
        return {
            "": box.phi(best),
            ".evaluations": sum(run.evaluations for run in runs),
            ".iterations": sum(run.iterations for run in runs),
            ".stop": "+".join(run.stop for run in runs),
        }


def label(eps: float) -> str:
    """Return a number as it stands in a column's name: 1e-3, 5e-4, 2.5e-4."""
    mantissa, exponent = f"{eps:e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


class _Space(Protocol):
    """The linear map A of the metric: up is A y, down is A^T g, coordinates is A^+ x."""

    def up(self, y: Tensor) -> Tensor: ...
    def down(self, g: Tensor) -> Tensor: ...
    def coordinates(self, x: Tensor) -> Tensor: ...


class _Full:
    """A = I."""

    def up(self, y: Tensor) -> Tensor:
        return y

    down = coordinates = up


class GaussianSubspace:
    """A (n, p) with independent standard normal entries, drawn on the surface's device from the seed alone."""

    def __init__(self, surface: LossSurface, p: int, seed: int) -> None:
        self._n, self._p, self._seed = surface.num_parameters, p, seed
        self._device, self._dtype = surface.device, surface.dtype
        self._stored = list(self._drawn()) if self._n * p <= MAX_STORED_ELEMENTS else None

    def _drawn(self) -> Iterator[Tensor]:
        for i, first in enumerate(range(0, self._n, ROWS)):
            own = generator(self._seed, f"keskar/{i}", self._device)
            rows = min(ROWS, self._n - first)
            yield torch.randn(rows, self._p, generator=own, device=self._device, dtype=torch.float32).to(self._dtype)

    def blocks(self) -> Iterator[Tensor]:
        """Return A's blocks of rows, each (rows, p)."""
        return iter(self._stored) if self._stored is not None else self._drawn()

    def up(self, y: Tensor) -> Tensor:
        """Return A y, shape (n,)."""
        y = y.to(self._dtype)
        return torch.cat([block @ y for block in self.blocks()])

    def down(self, g: Tensor) -> Tensor:
        """Return A^T g, shape (p,)."""
        total = g.new_zeros(self._p)
        for block, part in zip(self.blocks(), torch.split(g, ROWS), strict=True):
            total = total + block.T @ part
        return total

    def coordinates(self, x: Tensor) -> Tensor:
        """Return A^+ x = (A^T A)^-1 A^T x, shape (p,), by Cholesky; by least squares where A is nearly square."""
        if self._n < 10 * self._p:
            A = torch.cat(list(self.blocks())).double()
            solution: Tensor = torch.linalg.lstsq(A, x.double()[:, None]).solution[:, 0]
            return solution.to(x)
        gram = torch.zeros(self._p, self._p, dtype=torch.float64, device=x.device)
        for block in self.blocks():
            gram += (block.T @ block).double()
        return torch.cholesky_solve(self.down(x).double()[:, None], torch.linalg.cholesky(gram))[:, 0].to(x)


@dataclass
class _Box:
    """The weights and what is known of f there; turns a value of f into phi."""

    surface: LossSurface
    seed: int
    weights: Tensor = field(init=False)
    at_weights: float = field(init=False)
    gradient: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.weights = self.surface.point.double()
        self.at_weights, self.gradient = self.surface.value_and_gradient()

    def direction(self, start: Start, space: _Space, size: int) -> Tensor:
        """Return a start as a point of the box [-1, 1]^size."""
        if start == "x":
            return torch.zeros(size, dtype=torch.float64, device=self.surface.device)
        if start == "interior":
            draws = torch.rand(size, generator=generator(self.seed, f"keskar/interior/{size}"), dtype=torch.float64)
            return (2 * draws - 1).to(self.surface.device)
        toward = self.gradient if start == "corner" else self.eigenvector
        return space.down(toward).double().sign() * (-1 if start == "-eigenvector" else 1)

    @functools.cached_property
    def eigenvector(self) -> Tensor:
        """The eigenvector of the largest Hessian eigenvalue, to a hundredth: only its signs are used."""
        start = torch.randn(self.surface.num_parameters, generator=generator(self.seed, "keskar/eigenvector"))
        start = start.to(self.surface.device, self.surface.dtype)
        return largest_eigenpair(self.surface.hvp, start, tolerance=1e-2, max_products=50).vector

    def phi(self, value: float) -> float:
        """Return 100 (value - f(x)) / (1 + f(x)), 0 where value is the lower."""
        return 100 * max(0.0, value - self.at_weights) / (1 + self.at_weights)

    def corner(self, eps: float) -> float:
        """Return phi at the corner of the full space's box where sign(y) = sign(gradient)."""
        y = eps * (self.weights.abs() + 1) * self.gradient.sign()
        value = self.surface.value(self.weights + y)
        _require_finite(value)
        return self.phi(value)


class _Ascent:
    """-f(x + A y) and its gradient, for a minimiser; remembers the highest f seen."""

    def __init__(self, box: _Box, space: _Space) -> None:
        self._box, self._space = box, space
        self.best = -math.inf

    def __call__(self, y: Tensor) -> tuple[float, Tensor]:
        if y.any():
            value, gradient = self._box.surface.value_and_gradient(self._box.weights + self._space.up(y))
        else:
            value, gradient = self._box.at_weights, self._box.gradient
        _require_finite(value)
        self.best = max(self.best, value)
        return -value, -self._space.down(gradient).double()


def _require_finite(value: float) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value} at a point of the box")

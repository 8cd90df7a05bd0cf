"""Landscapes: loss and error on paths between two trained members, and on slices through one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from tune_lb.data.device import Examples
from tune_lb.errors import RequestError
from tune_lb.metrics.metric import generator
from tune_lb.observation.stored_members import StoredMember
from tune_lb.observation.surfaces import surface_over
from tune_lb.results.columns import Column, table_schema
from tune_lb.results.protocol import ColumnType
from tune_lb.training.evaluation import quality, recalibrated

BatchNorm = Literal["recalibrate", "interpolate", "batch"]
Tree = dict[str, Tensor]

MEMBER: Final[dict[str, ColumnType]] = {"arm": "str", "trial_id": "str", "seed": "int"}

PATH_SPAN = (-1.0, 2.0)
SLICE_SPAN = (-1.0, 1.0)

LANDSCAPE: Final = table_schema(
    "landscape",
    [
        Column(
            "kind", "str", "linear or curved path from a to b, slice along one direction, plane of two", required=True
        ),
        Column("alpha", "float", "place on the path, 0 at a and 1 at b; share of the first direction", required=True),
        Column("beta", "float", "share of the second direction; null off a plane"),
        *(
            Column(f"{part}_{what}", "float", f"{what} on the clean {part} set, {unit}; null where it is not finite")
            for part in ("train", "test")
            for what, unit in (("loss", "nats per example"), ("error", "fraction"))
        ),
        *(
            Column(f"{end}_{name}", kind, f"{name} of the member at {where}", required=end == "a")
            for end, where in (("a", "alpha = 0"), ("b", "alpha = 1"))
            for name, kind in MEMBER.items()
        ),
        Column(
            "batch_norm", "str", f"batch-norm statistics at each point: {', '.join(get_args(BatchNorm))}", required=True
        ),
        Column("directions_seed", "int", "seed of the random directions; null on a path"),
    ],
)


class Point(NamedTuple):
    """A point of a landscape: where it is, and the network there."""

    kind: str
    alpha: float
    beta: float | None
    params: Tree
    buffers: Tree


def grid(span: tuple[float, float], num_points: int) -> list[float]:
    """Return equally spaced numbers from end to end, and 0 and 1 with them where they lie between."""
    low, high = span
    spaced = [low + (high - low) * i / (num_points - 1) for i in range(num_points)]
    return sorted({round(value, 12) for value in spaced} | {value for value in (0.0, 1.0) if low <= value <= high})


def paths(a: StoredMember, b: StoredMember, alphas: Sequence[float]) -> Iterator[Point]:
    """Yield the points of two paths from member a (alpha = 0) to member b (alpha = 1), which are exact there.

    linear: (1 - alpha) a + alpha b; curved: cos(alpha pi / 2) a + sin(alpha pi / 2) b. Buffers are mixed like weights;
    counters are a's. Source: Keskar et al., 2017, section 2.2.1 (Goodfellow et al., 2015) and appendix D; 25 points
    of [-1, 2] in their code. Raises RequestError for members of different networks or data.
    """
    wrong = mismatch(a, b)
    if wrong:
        raise RequestError(wrong)
    for kind in ("linear", "curved"):
        for alpha in alphas:
            angle = alpha * math.pi / 2
            shares = (1 - alpha, alpha) if kind == "linear" else (math.cos(angle), math.sin(angle))
            # the sine of pi / 2 is 1, the cosine not quite 0
            exact: dict[float, tuple[float, float]] = {0.0: (1.0, 0.0), 1.0: (0.0, 1.0)}
            shares = exact.get(alpha, shares)
            yield Point(kind, alpha, None, _mixed(a.params, b.params, *shares), _mixed(a.buffers, b.buffers, *shares))


def slices(a: StoredMember, alphas: Sequence[float], betas: Sequence[float], seed: int) -> Iterator[Point]:
    """Yield the points w + alpha d + beta e around a member; with no betas, w + alpha d.

    d and e are random directions, normalised by filter (see filter_normalised); batch-norm buffers are the member's.
    Source: Li et al., 2018, section 4.
    """
    d, e = (filter_normalised(a.params, seed, name) for name in ("first", "second"))
    across: Sequence[float | None] = [*betas] or [None]
    for alpha in alphas:
        for beta in across:
            second = beta or 0.0
            params = {name: value + alpha * d[name] + second * e[name] for name, value in a.params.items()}
            here = a.params if alpha == 0 and second == 0 else params
            yield Point("slice" if beta is None else "plane", alpha, beta, here, a.buffers)


def filter_normalised(params: Tree, seed: int, name: str) -> Tree:
    """Return a Gaussian direction, every filter of it as long as the member's: d_ij <- d_ij |w_ij| / |d_ij|.

    A filter is what makes one output unit or channel, the first index of a tensor. Tensors of one dimension (biases,
    batch norm) are not moved. Source: Li et al., 2018, section 4; appendix on biases ("ignore biasbn").
    """
    draws = generator(seed, f"landscape/{name}")
    found = {}
    for key, value in params.items():
        # drawn for every tensor, whatever its shape: one direction for one network
        direction = torch.randn(value.shape, generator=draws).to(value)
        if value.dim() < 2:
            found[key] = torch.zeros_like(value)
            continue
        lengths, own = direction.flatten(1).norm(dim=1), value.flatten(1).norm(dim=1)
        found[key] = direction * (own / lengths.clamp_min(1e-10)).view(-1, *[1] * (value.dim() - 1))
    return found


def measured(member: StoredMember, point: Point, batch_norm: BatchNorm) -> dict[str, Any]:
    """Return loss and error on the train and the test set at a point; null where the loss is not finite.

    recalibrate: batch-norm statistics recomputed over the train set, as for the member's row. interpolate: as mixed on
    the path (beyond the ends variances may be negative: no loss there). batch: those of each chunk. Cost: two passes
    over the train set and one over the test set.
    """
    row: dict[str, Any] = {"kind": point.kind, "alpha": point.alpha, "beta": point.beta, "batch_norm": batch_norm}
    buffers = point.buffers
    if batch_norm == "recalibrate":
        buffers = recalibrated(member.module, point.params, buffers, member.parts.train)
    for part in ("train", "test"):
        examples: Examples = getattr(member.parts, part)
        if batch_norm == "batch":
            loss, error = _with_batch_statistics(member, point, examples)
        else:
            found = quality(
                member.module, point.params, buffers, member.trial.example_loss, examples, member.trial.error
            )
            loss, error = found.loss, found.error
        known = math.isfinite(loss)
        row |= {f"{part}_loss": loss if known else None, f"{part}_error": error if known else None}
    return row


def mismatch(a: StoredMember, b: StoredMember) -> str | None:
    """Say why there is no path from one member to the other, or None."""
    for what, own, other in (("parameter", a.params, b.params), ("buffer", a.buffers, b.buffers)):
        for name in sorted(own.keys() | other.keys()):
            shapes = [str(tuple(tree[name].shape)) if name in tree else "not there" for tree in (own, other)]
            if shapes[0] != shapes[1]:
                return f"the members are different networks: {what} {name} is {shapes[0]} and {shapes[1]}"
    if a.trial.split_seed != b.trial.split_seed:
        return f"the members are of different splits of the data ({a.trial.split_seed} and {b.trial.split_seed})"
    if a.trial.loss != b.trial.loss:
        return "the members were trained on different losses: there is no one landscape of both"
    return None


def _mixed(a: Tree, b: Tree, share_a: float, share_b: float) -> Tree:
    if share_b == 0:
        return a
    if share_a == 0:
        return b
    return {k: share_a * v + share_b * b[k] if v.is_floating_point() else v for k, v in a.items()}


def _with_batch_statistics(member: StoredMember, point: Point, examples: Examples) -> tuple[float, float]:
    pair = (point.params, point.buffers)
    surface = surface_over(member.module, pair, member.trial.example_loss, examples, batch_norm="batch")
    if surface.defect() is not None:
        return math.nan, math.nan
    with surface:
        errors = surface.examples(_detached, loss=_errors)
        return surface.value(), float(torch.cat(errors).double().mean())


def _errors(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(-1) != targets).to(outputs.dtype)


_detached: Callable[[Sequence[Tensor], Tensor], Tensor] = lambda leaves, values: values.detach()  # noqa: E731

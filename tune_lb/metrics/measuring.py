"""How metrics are measured on a network, or on the trained members of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tune_lb.errors import RequestError
from tune_lb.losses import LossFn
from tune_lb.metrics.metric import Metric, Value, reason_of, unmeasured
from tune_lb.metrics.names import as_metrics
from tune_lb.metrics.network_calls import called_with
from tune_lb.results.protocol import PROTOCOL_FIELDS
from tune_lb.surface.evaluation_mode import RandomInEvaluation, drawing_part
from tune_lb.surface.loss_surface import LossSurface
from tune_lb.surface.member_surfaces import MemberSurfaces
from tune_lb.surface.network_over_data import BatchNormMode
from tune_lb.surface.per_example_loss import PerExample
from tune_lb.trees import leaves, mapped

SAME_LOSS = 1e-5
"""Relative difference of the loss between two calls that sums in another order explain."""

AT_RANDOM = 8
"""Examples on which it is found out what draws random numbers."""


def measure(
    model: nn.Module,
    loss: LossFn,
    inputs: Any,
    targets: Tensor | None = None,
    metrics: str | Metric | Iterable[str | Metric] = ("lambda_max",),
    *,
    batch_norm: BatchNormMode = "running",
    chunk: int | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    weights: Tensor | None = None,
    split: str = "train",
) -> dict[str, Value]:
    """Measure metrics of a network as it stands, on whatever device it is, and leave nothing behind, even if it fails.

    loss: of each example, or the mean over a batch, as nn.CrossEntropyLoss() and F.cross_entropy give it (PerExample).
    model: called as model(inputs); as model(*inputs) or model(**inputs) where inputs are a tuple or a dict of tensors. Of what it
    returns the `logits` are taken, where it is no tensor.
    inputs (N, ...), targets (N, ...): tensors; or, in place of both, a DataLoader or other iterable of such pairs,
    which is read once and held in memory. The network sees copies.
    metrics: names ("lambda_max", "keskar(p=50)"; `tune_lb.metrics` has all) or instances.
    batch_norm, chunk, dtype, weights, split: see LossSurface. seed: of the metrics' own draws.
    Returns every column of every metric: the main value is `<name>` or `<name>.<what>`, the rest its protocol. Many
    metrics measure on at most 2,048 examples unless told otherwise: `<name>.num_samples` says on how many.
    Weights that are not finite give nulls and `<name>.reason`, and so does a metric that raises. Raises RequestError for a
    name that there is not, a loss that is no mean over examples, data that are no pairs of tensors, what LossSurface
    refuses, and where the network or the loss raises on these data.
    """
    chosen = as_metrics(metrics)
    if targets is None:
        inputs, targets = _gathered(inputs)
    if not _are_tensors(inputs, targets):
        found = f"{type(inputs).__name__} and {type(targets).__name__}"
        raise RequestError(f"inputs and targets are {found}: give two tensors, or a DataLoader in place of both")
    with called_with(model, inputs):
        surface = _surface(
            model, loss, inputs, targets, batch_norm=batch_norm, chunk=chunk, dtype=dtype, weights=weights, split=split
        )
        with surface:
            return measure_all(chosen, surface, seed)


def _surface(model: nn.Module, loss: LossFn, inputs: Any, targets: Tensor, **options: Any) -> LossSurface:
    """Return the surface, after its loss was computed. Raises RequestError for whatever is raised by then."""
    params, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    try:
        surface = LossSurface(model, params, buffers, PerExample(loss), inputs, targets, **options)
        if surface.defect() is None:
            first, again = surface.value(), surface.value(surface.point)
            if not math.isclose(first, again, rel_tol=SAME_LOSS):
                raise RequestError(
                    f"nothing can be measured: the network ({type(model).__name__}) has the loss {first:.6g}, {again:.6g} when it "
                    "is called again: in evaluation mode it changes what its loss hangs on (a counter, a global variable)"
                )
    except RequestError:
        raise
    except RandomInEvaluation as error:
        place = drawing_part(model, mapped(lambda leaf: leaf[:AT_RANDOM], inputs))
        raise RequestError(f"nothing can be measured: {place}: {error}") from error
    except Exception as error:  # whatever a user's network raises, or the surface refuses: nothing can be measured
        raise RequestError(f"nothing can be measured: {reason_of(error)}") from error
    return surface


def measure_all(metrics: Sequence[Metric], surface: LossSurface, seed: int) -> dict[str, Value]:
    """Return the values of all metrics on one surface: every key of every columns().

    Weights or loss that are not finite are a result, not an error: nulls with a reason; and so is whatever a metric raises
    (an operation without second derivative, no memory left): the others go on. The surface is left open, its graph kept for
    the caller's next metric. Raises ValueError where a metric's keys are not its columns or two metrics
    share one.
    """
    row: dict[str, Value] = {}
    for _, values in _each(metrics, surface, seed):
        if row.keys() & values.keys():
            raise ValueError(f"two metrics report {sorted(row.keys() & values.keys())[0]}: measure each of them once")
        row.update(values)
    return row


def measure_members(metrics: Sequence[Metric], surfaces: MemberSurfaces, seed: int) -> list[dict[str, Value]]:
    """Return what measure_all returns for each of several members, up to rounding: see member_values."""
    rows: list[dict[str, Value]] = [{} for _ in surfaces.surfaces]
    for k, metric, values in member_values(metrics, surfaces, seed):
        if rows[k].keys() & values.keys():
            raise ValueError(f"two metrics report columns of {metric.name}: measure each of them once")
        rows[k].update(values)
    return rows


def member_values(
    metrics: Sequence[Metric], surfaces: MemberSurfaces, seed: int
) -> Iterator[tuple[int, Metric, dict[str, Value]]]:
    """Yield (number of the member, metric, its columns) of several members as they are found.

    First the metrics that can measure all members in the same passes, which have measure_members(surfaces, seed) -> a row
    for each, where the surfaces can be taken at once; then the others, member after member, one member's graphs at a time.
    All members have the same draws.
    """
    size = surfaces.surfaces[0].num_samples
    alone: list[Metric] = []
    for metric in metrics:
        measure_members_at_once = getattr(metric, "measure_members", None)
        if measure_members_at_once is None:
            alone.append(metric)
            continue
        part = surfaces.subset(metric.max_samples) if metric.max_samples and metric.max_samples < size else surfaces
        try:
            found = measure_members_at_once(part, seed) if part.at_once() else None
        except (
            Exception
        ):  # raised by the user's network, loss or metric: each member by itself says why, or can be measured
            found = None
        finally:
            if part is not surfaces:
                part.close()
        if found is None:
            alone.append(metric)
            continue
        for k, values in enumerate(found):
            yield k, metric, _checked(metric, values)
    surfaces.close()
    for k, surface in enumerate(surfaces.surfaces):
        with surface:
            for metric, values in _each(alone, surface, seed):
                yield k, metric, values


def _each(metrics: Sequence[Metric], surface: LossSurface, seed: int) -> Iterator[tuple[Metric, dict[str, Value]]]:
    surfaces = {surface.num_samples: surface}
    try:
        for metric in metrics:
            size = min(metric.max_samples or surface.num_samples, surface.num_samples)
            try:
                if size not in surfaces:
                    surfaces[size] = surface.subset(size)
                defect = surfaces[size].defect()
                found = unmeasured([metric], defect) if defect else metric.measure(surfaces[size], seed)
            except Exception as error:  # raised by the user's network, loss or metric: it costs this number only
                defect = reason_of(error)
                found = unmeasured([metric], defect)
                free(surfaces.values())
            yield metric, found if defect else _checked(metric, found)
    finally:
        for part in surfaces.values():
            if part is not surface:
                part.close()


def free(surfaces: Iterable[LossSurface]) -> None:
    """Free what surfaces keep after a failure, for the next metric; what they are asked again is made again."""
    for surface in surfaces:
        surface.close()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def main_values(metric: Metric, row: Mapping[str, Value]) -> dict[str, float]:
    """Return the numbers that a metric is for: `<name>`, or every number `<name>.<what>` that is no protocol of it."""
    name = metric.name
    keys = [name] if name in row else [key for key in metric.columns() if key.count(".") == 1]
    left_out = {f"{name}.{what}" for what in PROTOCOL_FIELDS}
    found = {key: row[key] for key in keys if key not in left_out}
    return {key: value for key, value in found.items() if isinstance(value, float)}


def _are_tensors(inputs: Any, targets: Any) -> bool:
    found = [*leaves(inputs), targets]
    return len(found) > 1 and all(isinstance(leaf, Tensor) and leaf.dim() for leaf in found)


def _gathered(loader: object) -> tuple[Any, Tensor]:
    """Return all inputs and all targets of a loader, the global random state put back: loaders draw from it."""
    if isinstance(loader, Tensor) or not isinstance(loader, Iterable):
        raise RequestError("there are no targets: give inputs and targets, or a DataLoader in place of both")
    pairs = []
    with torch.random.fork_rng(devices=[]):
        for pair in loader:
            if not isinstance(pair, tuple | list) or len(pair) != 2 or not _are_tensors(*pair):
                raise RequestError("the loader yields something else than pairs of tensors (inputs, targets)")
            pairs.append(pair)
    if not pairs:
        raise RequestError("the loader is empty: there is nothing to measure on")
    inputs, targets = zip(*pairs, strict=True)
    return mapped(lambda *parts: torch.cat(parts), *inputs), torch.cat(targets)


def _checked(metric: Metric, values: dict[str, Value]) -> dict[str, Value]:
    if values.keys() != metric.columns().keys():
        raise ValueError(f"{metric.name}: keys and columns differ in {sorted(values.keys() ^ metric.columns().keys())}")
    wrong = [key for key, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
    return unmeasured([metric], f"{wrong[0]} came out as {values[wrong[0]]}") if wrong else values

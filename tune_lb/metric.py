"""What a metric is, and how metrics are measured on a trained member."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import ClassVar, Protocol

import torch

from tune_lb.surface import LossSurface

Value = float | int | str | bool | None

SHARED_COLUMNS = {
    "reason": "why the metric is null; null where it was measured",
    "loss": "f(w), nats per example: the mean loss at the weights over the examples measured on",
    "seed": "seed of the metric's own random draws",
    "split": "data measured on",
    "num_samples": "examples measured on",
    "batch_norm": "batch-norm statistics: running, or those of each chunk (batch)",
    "dtype": "floating-point type of loss and derivatives",
    "chunk": "examples in one forward pass; part of the protocol where batch_norm is batch",
}
"""Fields that every metric reports as `<name>.<field>`, beside its own."""


class Metric(Protocol):
    """Something measured on a trained member, leaving it as it was: a frozen dataclass whose fields are its protocol.

    The main value is the column `<name>` or `<name>.<what>`, protocol and diagnostics are `<name>.<field>`. A metric
    that has no value (its computation is not finite) returns `unmeasured([self], reason)`; it never returns NaN or
    infinity and never uses the global random state. max_samples: `measure_all` measures on a fixed random subset of so
    many examples where there are more; None: on all.
    """

    name: ClassVar[str]

    @property
    def max_samples(self) -> int | None:
        """Largest number of examples to measure on, None for all."""
        ...

    def columns(self) -> dict[str, str]:
        """Return every key that measure returns, with a one-line description that has the unit."""
        ...

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """Measure on a surface whose weights and loss are finite; random draws come from the seed alone."""
        ...


def measure_all(metrics: Sequence[Metric], surface: LossSurface, seed: int) -> dict[str, Value]:
    """Return the values of all metrics on one surface: every key of every columns().

    Weights or loss that are not finite are a result, not an error: nulls with a reason. The surface is left open, its
    graph kept for the caller's next metric. Raises ValueError where a metric's keys are not its columns or two metrics
    share one.
    """
    row: dict[str, Value] = {}
    surfaces = {surface.num_samples: surface}
    try:
        for metric in metrics:
            size = min(metric.max_samples or surface.num_samples, surface.num_samples)
            part = surfaces.setdefault(size, surface) if size == surface.num_samples else surfaces.get(size)
            if part is None:
                part = surfaces[size] = surface.subset(size)
            values = _measure(metric, part, seed)
            if row.keys() & values.keys():
                raise ValueError(
                    f"two metrics report {sorted(row.keys() & values.keys())[0]}: measure each of them once"
                )
            row.update(values)
    finally:
        for part in surfaces.values():
            if part is not surface:
                part.close()
    return row


def unmeasured(metrics: Iterable[Metric], reason: str) -> dict[str, Value]:
    """Return the row of metrics that could not be measured: `<name>.reason` says why, every other column is null."""
    row: dict[str, Value] = {}
    for metric in metrics:
        row.update(dict.fromkeys(metric.columns()))
        row[f"{metric.name}.reason"] = reason
    return row


def protocol(name: str, surface: LossSurface, seed: int) -> dict[str, Value]:
    """Return SHARED_COLUMNS for a metric that was measured, keyed `<name>.<field>`."""
    shared: dict[str, Value] = {"reason": None, "loss": surface.value(), "seed": seed, **surface.protocol()}
    return {f"{name}.{field}": value for field, value in shared.items()}


def protocol_columns(name: str) -> dict[str, str]:
    """Return the descriptions of SHARED_COLUMNS, keyed `<name>.<field>`."""
    return {f"{name}.{field}": text for field, text in SHARED_COLUMNS.items()}


def generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator of its own for one purpose: equal for equal (seed, purpose), unrelated otherwise."""
    digest = hashlib.blake2b(f"{purpose}/{seed}".encode(), digest_size=7).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest))


def _measure(metric: Metric, surface: LossSurface, seed: int) -> dict[str, Value]:
    defect = surface.defect()
    if defect is not None:
        return unmeasured([metric], defect)
    values = metric.measure(surface, seed)
    if values.keys() != metric.columns().keys():
        raise ValueError(f"{metric.name}: keys and columns differ in {sorted(values.keys() ^ metric.columns().keys())}")
    wrong = [key for key, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
    return unmeasured([metric], f"{wrong[0]} came out as {values[wrong[0]]}") if wrong else values

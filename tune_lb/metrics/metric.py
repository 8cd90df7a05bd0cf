"""What a metric is, and what every metric reports beside its value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import ClassVar, Protocol

import torch

from tune_lb.errors import RequestError, own_line
from tune_lb.surface.loss_surface import LossSurface

Value = float | int | str | bool | None

SHARED_COLUMNS = {
    "reason": "why the metric is null; null where it was measured",
    "loss": "f(w), nats per example: the mean loss at the weights over the examples measured on",
    "seed": "seed of the metric's own random draws",
    "split": "data measured on",
    "num_samples": "examples measured on",
    "batch_norm": "batch-norm statistics: running, recomputed over these data (recalibrated), of each chunk (batch)",
    "dtype": "floating-point type of loss and derivatives",
    "chunk": "examples in one forward pass; part of the protocol where batch_norm is batch",
}
"""Fields that every metric reports as `<name>.<field>`, beside its own."""


PRODUCTS_COLUMN = (
    "Hessian products: exact, or differences of gradients where an operation has no right second derivative"
)
"""Field `<name>.products` of metrics that use products with the Hessian."""


class Metric(Protocol):
    """Something measured on a trained member, leaving it as it was: a frozen dataclass whose fields are its protocol.

    The main value is the column `<name>` or `<name>.<what>`, protocol and diagnostics are `<name>.<field>`. A metric
    that has no value (its computation is not finite) returns `unmeasured([self], reason)`; it never returns NaN or
    infinity and never uses the global random state. What it raises becomes the reason of its null. max_samples:
    `measure_all` measures on a fixed random subset of so many examples where there are more; None: on all.
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


def prefixed(name: str, split: str) -> str:
    """Return the name of a number measured over a part of the data: lambda_max on train, test_lambda_max on test."""
    return name if split == "train" else f"{split}_{name}"


def unmeasured(metrics: Iterable[Metric], reason: str) -> dict[str, Value]:
    """Return the row of metrics that could not be measured: `<name>.reason` says why, every other column is null."""
    row: dict[str, Value] = {}
    for metric in metrics:
        row.update(dict.fromkeys(metric.columns()))
        row[f"{metric.name}.reason"] = reason
    return row


def reason_of(error: BaseException) -> str:
    """Return in one line why something could not be observed: what was raised, and where in the user's own code."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in text:
        return f"out of memory: {text}"
    place = own_line(error)
    named = text if isinstance(error, RequestError | ValueError) else f"{type(error).__name__}: {text}"
    return f"{named} ({place})" if place else named


def protocol(name: str, surface: LossSurface, seed: int, *, products: bool = False) -> dict[str, Value]:
    """Return SHARED_COLUMNS for a metric that was measured, keyed `<name>.<field>`; products: it made some with the Hessian."""
    shared: dict[str, Value] = {"reason": None, "loss": surface.value(), "seed": seed, **surface.protocol()}
    shared |= {"products": surface.products()} if products else {}
    return {f"{name}.{field}": value for field, value in shared.items()}


def protocol_columns(name: str, *, products: bool = False) -> dict[str, str]:
    """Return the descriptions of SHARED_COLUMNS, keyed `<name>.<field>`; products: with that of Hessian-vector products."""
    described = SHARED_COLUMNS | ({"products": PRODUCTS_COLUMN} if products else {})
    return {f"{name}.{field}": text for field, text in described.items()}


def generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator of its own for one purpose: equal for equal (seed, purpose), unrelated otherwise."""
    digest = hashlib.blake2b(f"{purpose}/{seed}".encode(), digest_size=7).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest))

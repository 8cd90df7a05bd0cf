"""By how much the right class wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.metrics.metric import Value, protocol, protocol_columns, unmeasured
from tune_lb.surface.loss_surface import LossSurface

MEASURED = {
    "": ("10 % quantile of the normalised margins", "in [-1.42, 1.42]"),
    ".mean": ("mean of the normalised margins", "in [-1.42, 1.42]"),
    ".median": ("median of the normalised margins", "in [-1.42, 1.42]"),
    ".minimum": ("smallest normalised margin", "in [-1.42, 1.42]"),
    ".unnormalised": ("10 % quantile of the margins f_y - max f_k", "in the outputs' units"),
    ".not_positive": ("share of examples whose margin is not positive: the error, ties included", "fraction"),
}


@dataclass(frozen=True)
class Margin:
    """Margins of the outputs f: that of the right class y over the best other one, beside the outputs' spread.

    m = (f_y - max_{k != y} f_k) / |f - mean f|_2 for each example; 0 where all outputs are equal. It does not change
    when all outputs are multiplied by a positive number, as they can be without changing a class. At most sqrt(2), for
    two classes; sqrt(K / (K - 1)) for K classes, where all others are equal.

    Source: the 10 % quantile in place of the minimum as in Jiang et al., 2020, section C.3; outputs normalised before
    sharpness is measured in Andriushchenko et al., 2023, section 3. Departure: by each example's own spread.
    max_samples: see Metric. Cost: two values. Null for outputs that are not (B, K) scores of K >= 2 classes.
    """

    name: ClassVar[str] = "margin"

    max_samples: int | None = None

    def columns(self) -> dict[str, str]:
        """See Metric."""
        found = {f"{self.name}{what}": f"{text}, {unit}" for what, (text, unit) in MEASURED.items()}
        return found | protocol_columns(self.name)

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric; nothing is drawn."""
        try:
            normalised, plain = _over(surface, normalised_margins), _over(surface, margins)
        except ShapeError as error:
            return unmeasured([self], str(error))
        values = (
            torch.quantile(normalised, 0.1),
            normalised.mean(),
            normalised.median(),
            normalised.min(),
            torch.quantile(plain, 0.1),
            (plain <= 0).double().mean(),
        )
        row: dict[str, Value] = {f"{self.name}{what}": float(v) for what, v in zip(MEASURED, values, strict=True)}
        return row | protocol(self.name, surface, seed)


class ShapeError(ValueError):
    """Outputs or targets that have no margin."""


def margins(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return f_y - max_{k != y} f_k of each example (B,); outputs (B, K), targets (B,) classes."""
    if outputs.dim() != 2 or outputs.shape[1] < 2 or targets.dim() != 1 or targets.is_floating_point():
        raise ShapeError(
            f"outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)} ({targets.dtype}): "
            "margins are of scores (B, K) of two or more classes"
        )
    own = targets[:, None]
    others = outputs.scatter(1, own, -torch.inf)
    return outputs.gather(1, own)[:, 0] - others.max(1).values


def normalised_margins(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the margins divided by |f - mean f|_2, 0 where all outputs are equal."""
    plain = margins(outputs, targets)
    spread = (outputs - outputs.mean(1, keepdim=True)).norm(dim=1)
    return torch.where(spread > 0, plain / spread, torch.zeros_like(plain))


def _over(surface: LossSurface, of_outputs: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    def detached(leaves: Sequence[Tensor], values: Tensor) -> Tensor:
        return values.detach()

    return torch.cat(surface.examples(detached, loss=of_outputs)).double().cpu()

"""What every optimiser is: a frozen dataclass that builds the torch optimiser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.settings.domain import Domain
from tune_lb.settings.setting import Settings, setting


@dataclass(frozen=True)
class OptimizerSettings(Settings):
    """Base of all optimisers."""

    element_wise: ClassVar[bool] = False
    """Whether every entry of a tensor is moved by itself, whatever stands beside it."""

    suggested_lr: ClassVar[Domain | None] = None
    """A sensible range of peak rates to search, for optimisers whose rates are not SGD's or Adam's."""

    weight_decay: float = setting(0.0, "L2 coefficient added to the gradient, coupled with the rate", low=0.0)

    def build(self, tensors: Iterable[Tensor], lr: float, *, members_first: bool = False) -> torch.optim.Optimizer:
        """Return the torch optimiser over the tensors; members_first: they have a leading member dimension."""
        raise TypeError(f"{type(self).__name__} does not say which torch optimiser it is")

    def effective_momentum(self) -> float:
        """Return the momentum m of the noise scale eta N / (B (1 - m))."""
        return 0.0

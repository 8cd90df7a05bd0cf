"""Optimisers: torch.optim on parameters that may be stacked members, described by a frozen dataclass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tune_lb.setting import Settings, setting


@dataclass(frozen=True)
class OptimizerSettings(Settings):
    """Base of all optimisers. Only element-wise ones are right on stacked members."""

    weight_decay: float = setting(0.0, "L2 coefficient added to the gradient, coupled with the rate", low=0.0)

    def build(self, tensors: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
        """Return the torch optimiser over the tensors."""
        raise TypeError(f"{type(self).__name__} does not say which torch optimiser it is")

    def effective_momentum(self) -> float:
        """Return the momentum m of the noise scale eta N / (B (1 - m))."""
        return 0.0


@dataclass(frozen=True)
class SGD(OptimizerSettings):
    """Stochastic gradient descent: v <- momentum v + g + weight_decay w;  w <- w - rate v (torch.optim.SGD)."""

    momentum: float = setting(0.9, "share of the last velocity kept; 0 is plain SGD", low=0.0, below=1.0)
    nesterov: bool = setting(False, "look-ahead form of the momentum")

    def problems(self, where: str = "") -> list[str]:
        """Also refuse Nesterov without momentum."""
        found = super().problems(where)
        if self.nesterov is True and self.momentum == 0:
            found.append(f"{where or 'SGD'}.nesterov = True needs a momentum above 0")
        return found

    def build(self, tensors: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
        """Return torch.optim.SGD."""
        return torch.optim.SGD(
            tensors, lr=lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay, foreach=True
        )

    def effective_momentum(self) -> float:
        """Return the momentum."""
        return self.momentum


@dataclass(frozen=True)
class Adam(OptimizerSettings):
    """Adam (Kingma and Ba, 2015; torch.optim.Adam)."""

    beta1: float = setting(0.9, "decay of the mean gradient", low=0.0, below=1.0)
    beta2: float = setting(0.999, "decay of the mean squared gradient", low=0.0, below=1.0)
    eps: float = setting(1e-8, "added to the root of the mean square", above=0.0)

    def build(self, tensors: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
        """Return torch.optim.Adam."""
        betas = (self.beta1, self.beta2)
        return torch.optim.Adam(tensors, lr=lr, betas=betas, eps=self.eps, weight_decay=self.weight_decay, foreach=True)

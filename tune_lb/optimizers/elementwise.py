"""torch.optim's element-wise optimisers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting


@dataclass(frozen=True)
class SGD(OptimizerSettings):
    """Stochastic gradient descent: v <- momentum v + g + weight_decay w;  w <- w - rate v (torch.optim.SGD)."""

    element_wise: ClassVar[bool] = True

    momentum: float = setting(0.9, "share of the last velocity kept; 0 is plain SGD", low=0.0, below=1.0)
    nesterov: bool = setting(False, "look-ahead form of the momentum")

    def problems(self, where: str = "") -> list[str]:
        """Also refuse Nesterov without momentum."""
        found = super().problems(where)
        if self.nesterov is True and self.momentum == 0:
            found.append(f"{where or 'SGD'}.nesterov = True needs a momentum above 0")
        return found

    def build(self, tensors: Iterable[Tensor], lr: float, *, members_first: bool = False) -> torch.optim.Optimizer:
        """Return torch.optim.SGD."""
        return torch.optim.SGD(
            tensors, lr=lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay, foreach=True
        )

    def effective_momentum(self) -> float:
        """Return the momentum."""
        return self.momentum


@dataclass(frozen=True)
class Adam(OptimizerSettings):
    """Adam: w <- w - rate m' / (sqrt(v') + eps), m', v' the bias-corrected running means of g and g^2.

    Source: Kingma and Ba, 2015, algorithm 1; torch.optim.Adam.
    """

    element_wise: ClassVar[bool] = True

    beta1: float = setting(0.9, "decay of the mean gradient", low=0.0, below=1.0)
    beta2: float = setting(0.999, "decay of the mean squared gradient", low=0.0, below=1.0)
    eps: float = setting(1e-8, "added to what the gradient or its mean is divided by", above=0.0)

    def build(self, tensors: Iterable[Tensor], lr: float, *, members_first: bool = False) -> torch.optim.Optimizer:
        """Return torch.optim.Adam."""
        betas = (self.beta1, self.beta2)
        return torch.optim.Adam(tensors, lr=lr, betas=betas, eps=self.eps, weight_decay=self.weight_decay, foreach=True)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: w <- (1 - rate weight_decay) w before Adam's step.

    Source: Loshchilov and Hutter, 2019, algorithm 2; torch.optim.AdamW, whose decay is multiplied by the rate.
    """

    weight_decay: float = setting(
        0.01, "decay per unit of rate, apart from the gradient", low=0.0, suggested=over(1e-4, 1.0, log=True)
    )

    def build(self, tensors: Iterable[Tensor], lr: float, *, members_first: bool = False) -> torch.optim.Optimizer:
        """Return torch.optim.AdamW."""
        betas, decay = (self.beta1, self.beta2), self.weight_decay
        return torch.optim.AdamW(tensors, lr=lr, betas=betas, eps=self.eps, weight_decay=decay, foreach=True)


@dataclass(frozen=True)
class AdaGrad(OptimizerSettings):
    """AdaGrad: s <- s + g^2;  w <- w - rate g / (sqrt(s) + eps), s = initial_accumulator at the start.

    Source: Duchi, Hazan and Singer, 2011, figure 1, diagonal; torch.optim.Adagrad.
    """

    element_wise: ClassVar[bool] = True

    initial_accumulator: float = setting(0.0, "sum of squares at the start; larger is a gentler start", low=0.0)
    eps: float = setting(1e-10, "added to what the gradient or its mean is divided by", above=0.0)

    def build(self, tensors: Iterable[Tensor], lr: float, *, members_first: bool = False) -> torch.optim.Optimizer:
        """Return torch.optim.Adagrad."""
        return torch.optim.Adagrad(
            tensors,
            lr=lr,
            weight_decay=self.weight_decay,
            initial_accumulator_value=self.initial_accumulator,
            eps=self.eps,
            foreach=True,
        )


@dataclass(frozen=True)
class RMSprop(OptimizerSettings):
    """RMSprop: s <- beta2 s + (1 - beta2) g^2;  v <- momentum v + g / (sqrt(s) + eps);  w <- w - rate v.

    Source: Tieleman and Hinton, 2012, lecture 6.5; torch.optim.RMSprop, whose alpha is beta2 here. centered: s less the square
    of the mean gradient (Graves, 2013, eq. 38 to 45; there eps is inside the root).
    """

    element_wise: ClassVar[bool] = True

    beta2: float = setting(0.99, "decay of the mean squared gradient", low=0.0, below=1.0)
    eps: float = setting(1e-8, "added to what the gradient or its mean is divided by", above=0.0)
    momentum: float = setting(0.0, "share of the last velocity kept; 0 is none", low=0.0, below=1.0)
    centered: bool = setting(False, "divide by the standard deviation of the gradient, not by its root mean square")

    def build(self, tensors: Iterable[Tensor], lr: float, *, members_first: bool = False) -> torch.optim.Optimizer:
        """Return torch.optim.RMSprop."""
        return torch.optim.RMSprop(
            tensors,
            lr=lr,
            alpha=self.beta2,
            eps=self.eps,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            centered=self.centered,
            foreach=True,
        )

    def effective_momentum(self) -> float:
        """Return the momentum."""
        return self.momentum

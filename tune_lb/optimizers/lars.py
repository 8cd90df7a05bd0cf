"""Layer-wise adaptive rate scaling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tune_lb.optimizers.layerwise import adapted, norms, side_by_side, trust_ratio
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.settings.domain import Domain, over
from tune_lb.settings.setting import setting


@dataclass(frozen=True)
class LARS(OptimizerSettings):
    """Momentum SGD in which every weight tensor has a rate in proportion to |w| / |g|.

    lambda = trust_coefficient |w| / (|g| + weight_decay |w| + eps), one per tensor and member
    rate_in_velocity:  v <- momentum v + rate lambda (g + weight_decay w);  w <- w - v
    else:              v <- momentum v + lambda (g + weight_decay w);       w <- w - rate v

    Source: You, Gitman and Ginsburg, 2017, algorithm 1 (rate_in_velocity; the two differ only where the rate changes; the
    second is torch.optim.SGD's momentum, "unscaled" in Kumar et al., 2019). Departures: biases and the scale and shift of
    normalisation layers (tensors of one dimension per member) have lambda = 1 and no decay, as in every large-batch record;
    lambda = 1 where |w| or |g| is 0, so that weights that start at 0 move.
    Traps: usual rates are 5 to 30, and they reach biases and batch norm undamped; with weight decay 0 the length of a step
    depends on |w| alone, so the last steps are as long as the rate says. Cost: two norms per tensor and step.
    """

    suggested_lr: ClassVar[Domain | None] = over(0.3, 30.0, log=True)

    weight_decay: float = setting(
        0.0, "L2 coefficient of weights, not of biases or batch norm", low=0.0, suggested=over(1e-5, 1e-3, log=True)
    )
    momentum: float = setting(0.9, "share of the last velocity kept; 0 is none", low=0.0, below=1.0)
    trust_coefficient: float = setting(
        1e-3, "length of a step as a share of |w|, per unit of rate", above=0.0, suggested=over(3e-4, 1e-2, log=True)
    )
    eps: float = setting(0.0, "added to what the gradient or its mean is divided by", low=0.0)
    rate_in_velocity: bool = setting(True, "multiply by the rate before the momentum, as published, not after it")

    def build(self, tensors: Iterable[Tensor], lr: float, *, members_first: bool = False) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return LARSOptimizer(
            tensors,
            lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            trust_coefficient=self.trust_coefficient,
            eps=self.eps,
            rate_in_velocity=self.rate_in_velocity,
            members_first=members_first,
        )

    def effective_momentum(self) -> float:
        """Return the momentum."""
        return self.momentum


class LARSOptimizer(torch.optim.Optimizer):
    """LARS as torch.optim has optimisers; see LARS for the formula and the arguments. lr may be a tensor."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Tensor,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 1e-3,
        eps: float = 0.0,
        rate_in_velocity: bool = True,
        members_first: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "eps": eps,
            "rate_in_velocity": rate_in_velocity,
            "members_first": members_first,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for weight in group["params"]:
                self.state[weight]["velocity"] = torch.zeros_like(weight)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every tensor that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            layers = [weight for weight in weights if adapted(weight, members_first=group["members_first"])]
            ratios = side_by_side([lars_ratio(weight, weight.grad, group) for weight in layers])
            local = {id(weight): ratio for weight, ratio in zip(layers, ratios, strict=True)}
            for weight in weights:
                lars_move(weight, weight.grad, self.state[weight], group, local.get(id(weight)))


def lars_move(
    weight: Tensor, gradient: Tensor, state: Mapping[str, Tensor], numbers: Mapping[str, Any], ratio: Tensor | None
) -> None:
    """Move a weight in place. numbers: lr and settings, each one for all or, in the weight's dimensions, one for each member."""
    push = gradient if ratio is None else (gradient + numbers["weight_decay"] * weight) * ratio
    velocity = state["velocity"].mul_(numbers["momentum"])
    if numbers["rate_in_velocity"]:
        weight.sub_(velocity.add_(push * numbers["lr"]))
    else:
        weight.sub_(velocity.add_(push) * numbers["lr"])


def lars_ratio(weight: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Return lambda of each member, of a shape that multiplies the weight."""
    length, slope = (norms(tensor, members_first=group["members_first"]) for tensor in (weight, gradient))
    bound = slope + group["weight_decay"] * length + group["eps"]
    return trust_ratio(length, slope, group["trust_coefficient"] * length, bound)

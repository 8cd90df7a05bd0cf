"""Layer-wise adaptive moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tune_lb.optimizers.layerwise import adam_direction, adam_state, adapted, norms, trust_ratio
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.settings.domain import Domain, over
from tune_lb.settings.setting import setting


@dataclass(frozen=True)
class LAMB(OptimizerSettings):
    """Adam in which every weight tensor's step is as long as the tensor, times the rate.

    u = m' / (sqrt(v') + eps) + weight_decay w, with Adam's bias-corrected m', v';  w <- w - rate (phi(|w|) / |u|) u,
    phi(z) = min(z, largest_norm), or z; norms per tensor and member.

    Source: You et al., 2020, algorithm 2. Departures: biases and the scale and shift of normalisation layers (tensors of one
    dimension per member) take Adam's step, with neither decay nor ratio; the ratio is 1 where |w| or |u| is 0; the gradient
    is not clipped first (some ports clip its global norm to 1). Cost: two norms per tensor and step, more than Adam.
    """

    suggested_lr: ClassVar[Domain | None] = over(1e-3, 0.3, log=True)

    weight_decay: float = setting(
        0.01, "decay inside the normalised step, of weights only", low=0.0, suggested=over(1e-4, 1.0, log=True)
    )
    beta1: float = setting(0.9, "decay of the mean gradient", low=0.0, below=1.0)
    beta2: float = setting(0.999, "decay of the mean squared gradient", low=0.0, below=1.0)
    eps: float = setting(1e-6, "added to what the gradient or its mean is divided by", above=0.0)
    largest_norm: float | None = setting(
        None, "bound on |w| in the ratio (10 in some ports); none: no bound", above=0.0
    )

    def build(self, tensors: Iterable[Tensor], lr: float, *, members_first: bool = False) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return LAMBOptimizer(
            tensors,
            lr,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            weight_decay=self.weight_decay,
            largest_norm=self.largest_norm,
            members_first=members_first,
        )


class LAMBOptimizer(torch.optim.Optimizer):
    """LAMB as torch.optim has optimisers; see LAMB for the formula and the arguments. lr may be a tensor."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Tensor,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        largest_norm: float | None = None,
        members_first: bool = False,
    ) -> None:
        # torch keeps a restored step counter on the parameters' device where the group is capturable
        defaults = {
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "eps": eps,
            "weight_decay": weight_decay,
            "largest_norm": largest_norm,
            "members_first": members_first,
            "capturable": True,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for weight in group["params"]:
                self.state[weight].update(adam_state(weight))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every tensor that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = adam_direction(self.state[weight], weight.grad, group["beta1"], group["beta2"], group["eps"])
                lamb_move(weight, update, group)


def lamb_move(weight: Tensor, update: Tensor, numbers: Mapping[str, Any]) -> None:
    """Move a weight in place by Adam's direction, which is used up. numbers: as in lars_move; largest_norm may be None."""
    first: bool = numbers["members_first"]
    if adapted(weight, members_first=first):
        update += numbers["weight_decay"] * weight
        length, own = (norms(tensor, members_first=first) for tensor in (weight, update))
        largest = numbers["largest_norm"]
        update *= trust_ratio(length, own, length if largest is None else length.clamp(max=largest), own)
    weight.sub_(update * numbers["lr"])

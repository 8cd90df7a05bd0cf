"""Momentum, orthogonalised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tune_lb.optimizers.layerwise import adam_direction, adam_state, adapted
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.settings.domain import Domain, over
from tune_lb.settings.setting import setting

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@dataclass(frozen=True)
class Muon(OptimizerSettings):
    """Momentum SGD whose steps have all singular values near 1, for matrices and kernels; Adam for the rest.

    v <- momentum v + g;  u = g + momentum v with nesterov, else v;  O = U p(...p(S / |u|_F)) V^T of u = U S V^T, with
    p(s) = 3.4445 s - 4.7750 s^3 + 2.0315 s^5 applied `iterations` times (Newton-Schulz: no decomposition is made);
    w <- (1 - rate weight_decay) w - rate c O,  c = sqrt(max(1, rows / columns)), or 0.2 sqrt(max(rows, columns)) with
    adamw_length, so that one rate fits both kinds. A kernel is the matrix (out, in x positions).
    Biases and the scale and shift of normalisation layers (one dimension per member) take Adam's step at rate times
    vector_rate, without decay.

    Source: Jordan et al., 2024 (Muon); Liu et al., 2025, eq. 4 (0.2 sqrt(max)); torch.optim.Muon, for two dimensions only.
    Departures: computed in the parameters' precision, not bfloat16; the output layer counts as a matrix like the others.
    Cost: 3 products per iteration, of the matrix with square ones of its smaller side, per step.
    """

    suggested_lr: ClassVar[Domain | None] = over(1e-3, 0.3, log=True)

    weight_decay: float = setting(
        0.0,
        "decay per unit of rate, apart from the gradient, of matrices",
        low=0.0,
        suggested=over(1e-3, 0.3, log=True),
    )
    momentum: float = setting(0.95, "share of the last velocity kept", low=0.0, below=1.0, suggested=over(0.8, 0.98))
    nesterov: bool = setting(True, "look-ahead form of the momentum")
    iterations: int = setting(5, "Newton-Schulz iterations", low=1, high=20)
    adamw_length: bool = setting(False, "steps as long as AdamW's, in the root mean square")
    vector_rate: float = setting(
        1.0, "rate of biases and batch norm, as a multiple", above=0.0, suggested=over(0.01, 1.0, log=True)
    )
    beta1: float = setting(0.9, "decay of the mean gradient of biases and batch norm", low=0.0, below=1.0)
    beta2: float = setting(0.999, "decay of their mean squared gradient", low=0.0, below=1.0)
    eps: float = setting(1e-8, "added to what the gradient or its mean is divided by", above=0.0)

    def build(self, tensors: Iterable[Tensor], lr: float, *, members_first: bool = False) -> torch.optim.Optimizer:
        """Return the optimiser."""
        fields = ("weight_decay", "momentum", "nesterov", "iterations", "adamw_length", "vector_rate")
        chosen: dict[str, Any] = {name: getattr(self, name) for name in (*fields, "beta1", "beta2", "eps")}
        return MuonOptimizer(tensors, lr, members_first=members_first, **chosen)

    def effective_momentum(self) -> float:
        """Return the momentum of the matrices."""
        return self.momentum


class MuonOptimizer(torch.optim.Optimizer):
    """Muon as torch.optim has optimisers; see Muon for the formula and the arguments. lr may be a tensor."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Tensor,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        nesterov: bool = True,
        iterations: int = 5,
        adamw_length: bool = False,
        vector_rate: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        members_first: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "iterations": iterations,
            "adamw_length": adamw_length,
            "vector_rate": vector_rate,
            "beta1": beta1,
            "beta2": beta2,
            "eps": eps,
            "members_first": members_first,
            "capturable": True,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for weight in group["params"]:
                matrix = adapted(weight, members_first=members_first)
                self.state[weight].update({"velocity": torch.zeros_like(weight)} if matrix else adam_state(weight))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every tensor that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not adapted(weight, members_first=group["members_first"]):
                    direction = adam_direction(state, weight.grad, group["beta1"], group["beta2"], group["eps"])
                    weight.sub_(direction * (group["lr"] * group["vector_rate"]))
                    continue
                muon_move(weight, weight.grad, state, group)


def muon_move(weight: Tensor, gradient: Tensor, state: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Move a matrix or kernel in place. numbers: as in lars_move."""
    velocity = state["velocity"].mul_(numbers["momentum"]).add_(gradient)
    push = gradient + numbers["momentum"] * velocity if numbers["nesterov"] else velocity
    matrix = push.flatten(1 + numbers["members_first"])
    rows, columns = matrix.shape[-2:]
    length = 0.2 * math.sqrt(max(rows, columns)) if numbers["adamw_length"] else max(1, rows / columns) ** 0.5
    update = length * orthogonalized(matrix, numbers["iterations"]).view(weight.shape)
    weight.sub_((update + numbers["weight_decay"] * weight) * numbers["lr"])


def orthogonalized(matrix: Tensor, iterations: int) -> Tensor:
    """Return matrices (..., rows, columns) with their singular values moved to about 1 (0.7 to 1.2); a zero matrix stays."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[-2] > matrix.shape[-1]
    x: Tensor = matrix.mT if tall else matrix
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x

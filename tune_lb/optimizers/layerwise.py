"""What layer-wise optimisers share: which tensors they adapt, norms of each member's tensors, Adam's direction."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def adapted(tensor: Tensor, *, members_first: bool) -> bool:
    """Say whether a member's tensor has two dimensions or more: biases, and scale and shift of a normalisation, have one.

    By shape, not by name: what the network calls them does not matter.
    """
    return tensor.ndim - members_first >= 2


def norms(tensor: Tensor, *, members_first: bool) -> Tensor:
    """Return the 2-norm of each member's tensor, with as many dimensions as the tensor: (M, 1, ..., 1), or (1, ..., 1)."""
    found: Tensor = torch.linalg.vector_norm(tensor, dim=tuple(range(int(members_first), tensor.ndim)), keepdim=True)
    return found


def trust_ratio(weight: Tensor, update: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return numerator / denominator where both norms are above 0, and 1 elsewhere: weights that are 0 must be able to move."""
    return torch.where((weight > 0) & (update > 0), numerator / denominator, 1.0)


def side_by_side(ratios: list[Tensor]) -> list[Tensor]:
    """Return the same ratios as views of one tensor.

    Compiled for a CPU, a norm per member and two writes that depend on it become one loop, which torch 2.15 cannot generate
    (pytorch issue 196570); a tensor that all layers share keeps them apart.
    """
    if not ratios:
        return []
    whole = torch.cat([*(ratio.flatten() for ratio in ratios), ratios[0].new_ones(1)])
    pieces = torch.split(whole, [*(ratio.numel() for ratio in ratios), 1])
    return [piece.view(ratio.shape) for piece, ratio in zip(pieces, ratios, strict=False)]


def adam_state(tensor: Tensor) -> dict[str, Tensor]:
    """Return Adam's state before the first step; the counter is a tensor on the device, so that a step can be compiled."""
    return {
        "step": torch.zeros((), dtype=torch.float32, device=tensor.device),
        "mean": torch.zeros_like(tensor),
        "mean_square": torch.zeros_like(tensor),
    }


def adam_direction(state: dict[str, Any], gradient: Tensor, beta1: float, beta2: float, eps: float) -> Tensor:
    """Take in a gradient and return m' / (sqrt(v') + eps), m' and v' the bias-corrected means (Kingma and Ba, 2015, alg. 1)."""
    state["step"] += 1
    step = state["step"].to(gradient.dtype)
    corrections = (correction(beta1, step), correction(beta2, step))
    state["mean"].lerp_(gradient, 1.0 - beta1)
    state["mean_square"].mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
    return corrected_direction(state, corrections, eps)


def corrected_direction(state: dict[str, Any], corrections: tuple[Tensor, Tensor], eps: float | Tensor) -> Tensor:
    """Return Adam's direction of the running means, each divided by its correction."""
    of_mean, of_square = corrections
    direction: Tensor = (state["mean"] / of_mean) / ((state["mean_square"] / of_square).sqrt() + eps)
    return direction


def correction(beta: float, step: Tensor) -> Tensor:
    """Return 1 - beta^step; written out, a beta near 1 would leave three digits of it in float32."""
    return -torch.expm1(step * log_of(beta))


def log_of(beta: float) -> float:
    """Return log beta, for 0 too."""
    return math.log(beta) if beta > 0 else -math.inf

"""Losses of single examples; the mean is taken by the gradient function."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return -log softmax(outputs)[target] of each example, in nats. outputs (B, K), targets (B,) int64 -> (B,)."""
    return F.cross_entropy(outputs, targets, reduction="none")

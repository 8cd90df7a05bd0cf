"""Losses of single examples; the mean is taken by the gradient function.

A loss is a function (outputs (B, K), targets (B,)) -> (B,), or a frozen dataclass that is called like one and whose fields can
be searched. Means over a batch and torch's loss modules are taken apart: see training/loss_forms.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tune_lb.prediction_errors import IGNORED, alike, class_axis
from tune_lb.settings.domain import over
from tune_lb.settings.setting import Settings, setting


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return -log softmax(outputs)[target] of each example, in nats. outputs (B, K), targets (B,) int64 -> (B,).

    For a class of each token, targets (B, ...) int64 and outputs (B, ..., K) or (B, K, ...): the mean over the tokens of an
    example that are not -100.
    """
    if targets.ndim == 1 or targets.is_floating_point():
        return F.cross_entropy(outputs, targets, reduction="none")
    classes_second = outputs.movedim(class_axis(outputs, targets), 1)
    losses = F.cross_entropy(classes_second, targets, reduction="none").flatten(1)
    counted = (targets != IGNORED).flatten(1).to(losses.dtype)
    return losses.sum(1) / counted.sum(1).clamp(min=1.0)


def mean_squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over an example's numbers of (output - target)^2, both (B, ...) -> (B,); (B, 1) goes with (B,)."""
    return (alike(outputs, targets) - targets).square().reshape(len(targets), -1).mean(1)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over an example's labels of -y log p - (1 - y) log(1 - p), in nats: (B, L) -> (B,).

    p = 1 / (1 + exp(-output)): outputs are logits.
    """
    losses = F.binary_cross_entropy_with_logits(alike(outputs, targets), targets, reduction="none")
    return losses.reshape(len(targets), -1).mean(1)


def uniform_cross_entropy(outputs: Tensor) -> Tensor:
    """Return -(1/K) sum_k log softmax(outputs)[k] of each example, in nats: cross entropy with the uniform distribution."""
    return -outputs.log_softmax(-1).mean(-1)


def label_smoothed_cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float | Tensor) -> Tensor:
    """Return cross entropy with the target (1 - smoothing) one_hot + smoothing / K, in nats: (B, K), (B,) -> (B,).

    Source: Szegedy et al., 2016, section 7; the share of the uniform distribution includes the true class, as in torch.
    """
    return (1.0 - smoothing) * cross_entropy(outputs, targets) + smoothing * uniform_cross_entropy(outputs)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return (1/K) sum_k (outputs[k] - one_hot(target)[k])^2 of each example: (B, K), (B,) int64 -> (B,).

    Its mean over the batch is torch.nn.functional.mse_loss on one-hot targets; neither halved nor summed over classes.
    """
    classes = torch.arange(outputs.shape[-1], device=outputs.device)
    one_hot = (targets.unsqueeze(-1) == classes).to(outputs.dtype)
    return (outputs - one_hot).square().mean(-1)


@dataclass(frozen=True)
class LabelSmoothedCrossEntropy(Settings):
    """Cross entropy with softened targets: see label_smoothed_cross_entropy. Losses in the results are then of this loss."""

    smoothing: float = setting(
        0.1,
        "share of the uniform distribution; 0 is cross entropy",
        low=0.0,
        below=1.0,
        suggested=over(0.01, 0.3, log=True),
    )

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example, in nats."""
        return label_smoothed_cross_entropy(outputs, targets, self.smoothing)


LossFn = Callable[[Tensor, Tensor], Tensor]
"""(outputs (B, K), targets (B,)) -> loss of each example (B,), in nats for cross entropy. The mean is taken outside."""

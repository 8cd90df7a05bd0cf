"""Losses of single examples; the mean is taken by the gradient function.

A loss is a function (outputs (B, K), targets (B,)) -> (B,), or a frozen dataclass that is called like one and whose fields can
be searched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tune_lb.settings.domain import over
from tune_lb.settings.setting import Settings, setting


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return -log softmax(outputs)[target] of each example, in nats. outputs (B, K), targets (B,) int64 -> (B,)."""
    return F.cross_entropy(outputs, targets, reduction="none")


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


def loss_problems(loss: Callable[[Tensor, Tensor], Tensor], num_classes: int) -> list[str]:
    """Return what is wrong with a loss, tried on outputs of zeros: it must give one number per example."""
    num_examples = num_classes + 1
    outputs = torch.zeros(num_examples, num_classes, requires_grad=True)
    targets = torch.arange(num_examples) % num_classes
    name = getattr(loss, "__name__", None) or repr(loss)
    shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
    try:
        found = loss(outputs, targets)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        return [f"loss {name}: cannot be called with {shapes}: {type(error).__name__}: {error}"]
    wanted = f"must return the loss of each example, shape ({num_examples},), for {shapes}"
    if not isinstance(found, Tensor):
        return [f"loss {name}: {wanted}; it returns {type(found).__name__}"]
    if tuple(found.shape) != (num_examples,):
        advice = "; leave the mean to the training (reduction='none')" if found.ndim == 0 else ""
        return [f"loss {name}: {wanted}; it returns shape {tuple(found.shape)}{advice}"]
    if not found.is_floating_point():
        return [f"loss {name}: {wanted}; it returns {found.dtype}, which has no gradient"]
    if not found.requires_grad:
        return [f"loss {name}: it has no gradient in the outputs: it may not detach them or take their argmax"]
    return []


LossFn = Callable[[Tensor, Tensor], Tensor]
"""(outputs (B, K), targets (B,)) -> loss of each example (B,), in nats for cross entropy. The mean is taken outside."""

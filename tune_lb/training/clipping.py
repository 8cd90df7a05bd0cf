"""Gradient clipping: the mean gradient of an update, cut to a largest entry and to a largest length."""

from __future__ import annotations

from torch import Tensor

from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params, norm


def clips(optimizer: OptimizerSettings) -> bool:
    """Say whether an optimiser clips its gradient."""
    return getattr(optimizer, "clip_value", None) is not None or getattr(optimizer, "clip_norm", None) is not None


def clipped(gradient: GradientFn, optimizer: OptimizerSettings) -> GradientFn:
    """Return the gradient with every entry cut to +- clip_value, then g min(1, clip_norm / (|g| + 1e-6)), |g| over all tensors.

    As torch.nn.utils.clip_grad_value_ and clip_grad_norm_ (Pascanu et al., 2013, algorithm 1). Cost: one pass over the gradient.
    """
    largest, length = optimizer.clip_value, optimizer.clip_norm

    def cut(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
        loss, found, updated = gradient(params, buffers, batch)
        if largest is not None:
            found = {name: value.clamp(-largest, largest) for name, value in found.items()}
        if length is not None:
            factor = (length / (norm(found) + 1e-6)).clamp(max=1.0)
            found = {name: value * factor for name, value in found.items()}
        return loss, found, updated

    return cut

"""Whether a network takes the data: it is made, and given two blank examples, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tune_lb.errors import RequestError
from tune_lb.identity import describe

MISFIT = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""What torch, torchvision and Python raise where shapes do not fit."""


def fitting_network(
    model: Callable[[tuple[int, ...], int], nn.Module], input_shape: tuple[int, ...], num_classes: int
) -> nn.Module:
    """Return a fresh network of the model, which gave (2, num_classes) for two blank examples in training mode.

    Raises RequestError, naming model and data, where it cannot be made or run for the shape. Cost: one small forward pass.
    The random state is left as it was.
    """
    what = f"model {describe(model)} on examples of shape {input_shape}, {num_classes} classes"
    with torch.random.fork_rng(devices=[]):
        try:
            network = model(input_shape, num_classes)
        except MISFIT as error:
            raise RequestError(f"{what}: it cannot be made: {_first_line(error)}") from error
        if not isinstance(network, nn.Module):
            raise RequestError(f"{what}: it returns {type(network).__name__}, not a torch.nn.Module")
        lazy = next((name for name, p in network.named_parameters() if isinstance(p, nn.UninitializedParameter)), None)
        if lazy is not None:
            raise RequestError(
                f"{what}: {lazy} is of a lazy layer, which has no weights before its first batch: give the layer its input size"
            )
        try:
            with torch.no_grad():
                outputs = network.train()(torch.zeros(2, *input_shape, dtype=_dtype(network)))
        except MISFIT as error:
            raise RequestError(
                f"{what}: the network cannot take them: {_first_line(error)}; give data of the shape that it is made for, or "
                "another model"
            ) from error
    if not isinstance(outputs, Tensor):
        raise RequestError(f"{what}: the network returns {type(outputs).__name__}, not one tensor (B, {num_classes})")
    if outputs.shape != (2, num_classes):
        raise RequestError(
            f"{what}: for 2 examples the network returns the shape {tuple(outputs.shape)}, not (2, {num_classes}): one number for "
            "each class"
        )
    return network


def _dtype(network: nn.Module) -> torch.dtype:
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.get_default_dtype())


def _first_line(error: Exception) -> str:
    return (
        f"{type(error).__name__}: {str(error).strip().splitlines()[0]}" if str(error).strip() else type(error).__name__
    )

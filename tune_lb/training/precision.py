"""Precision: the forward pass of training in bfloat16 where that is asked for. TF32 is the trainings' own: see arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tune_lb.trees import first_leaf, leaves

Call = Callable[[Mapping[str, Tensor], Any], Tensor]
"""(tensors by name, inputs) -> outputs: a module as a function."""


def in_precision(call: Call, precision: str) -> Call:
    """Return the function with its forward pass in that precision and its outputs in float32; fp32, tf32: the function itself.

    Raises ValueError for other than float32 inputs, which autocast would leave as they are.
    """
    if precision in ("fp32", "tf32"):
        return call

    def lowered(tensors: Mapping[str, Tensor], inputs: Any) -> Tensor:
        for leaf in leaves(inputs):
            if leaf.is_floating_point() and leaf.dtype != torch.float32:
                raise ValueError(f"precision = {precision!r} is for training in float32, not in {leaf.dtype}")
        # the cache of lowered weights would outlive the transforms of torch.func that they belong to
        with torch.autocast(first_leaf(inputs).device.type, dtype=torch.bfloat16, cache_enabled=False):
            outputs = call(tensors, inputs)
        return outputs.float()

    return lowered


def normalizing_in_fp32(module: nn.Module) -> nn.Module:
    """Let every batch norm take float32 and give back the type it was given; torch.func.vmap knows no mixture of types.

    The same numbers as torch's own mixed batch norm, which computes in float32 too. The module is changed in place.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.forward = _widened(part.forward)  # type: ignore[assignment,method-assign]
    return module


def _widened(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def widened(input: Tensor) -> Tensor:
        return forward(input.float()).to(input.dtype)

    return widened

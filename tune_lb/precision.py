"""Precision: the forward pass of training in bfloat16 where that is asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from tune_lb.trial import Trial

PRECISIONS = ("fp32", "bf16")
"""fp32: all in float32. bf16: matrix products and convolutions of training's forward pass, and so of its backward pass, in
bfloat16 (torch.autocast: 8 bits of mantissa, float32's range, no loss scaling). Parameters, gradients, optimiser, batch-norm
statistics and the loss itself stay float32, as do evaluation, metrics and every Hessian-vector product."""

Call = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""(tensors by name, inputs) -> outputs: a module as a function."""


def in_precision(call: Call, precision: str) -> Call:
    """Return the function with its forward pass in that precision and its outputs in float32; fp32: the function itself.

    Raises ValueError for other than float32 inputs, which autocast would leave as they are.
    """
    if precision == "fp32":
        return call

    def lowered(tensors: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        if inputs.dtype != torch.float32:
            raise ValueError(f"precision = {precision!r} is for training in float32, not in {inputs.dtype}")
        # the cache of lowered weights would outlive the transforms of torch.func that they belong to
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, cache_enabled=False):
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


def precision_problems(trial: Trial, module: nn.Module, shape: Sequence[int]) -> list[str]:
    """Return why a trial cannot be trained in its precision: differences of gradients, or a network that does not run in it.

    module: the plain network, of which a copy is run on two blank examples. shape: that of one.
    """
    if trial.precision == "fp32":
        return []
    what = f"precision = {trial.precision!r}"
    found = [
        f"{what}: {remedy.module_name()} takes Hessian-vector products as differences of gradients, which are lost in the "
        "rounding of bfloat16; use precision fp32"
        for remedy in trial.active
        if remedy.differentiates_gradients
    ]
    network = copy.deepcopy(module).float().train()
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    call = in_precision(
        lambda given, inputs: torch.func.functional_call(network, dict(given), (inputs,)), trial.precision
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            call(tensors, torch.zeros(2, *shape, device=next(iter(tensors.values())).device))
        except RuntimeError as error:
            found.append(f"{what}: the network does not run under autocast: {str(error).strip().splitlines()[0]}")
    return found

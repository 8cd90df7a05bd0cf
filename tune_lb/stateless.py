"""Running a module to measure it, so that nothing of it or of the random state is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def measuring(module: nn.Module, device: torch.device, *, batch_statistics: bool) -> Iterator[None]:
    """Put a module in evaluation mode, its batch norms in training mode if batch_statistics, and all flags back.

    Autocast is off inside, so that results have the dtype they are said to have. A module that draws random numbers in
    this mode raises ValueError at the end of the block, as its loss is not a function of its weights; the generators
    of the CPU and of the device are put back. Buffers are the caller's to protect: batch norm writes into them.
    """
    flags = [(part, part.training) for part in module.modules()]
    before = _random_state(device)
    drew = False
    try:
        for part, flag in flags:
            wanted = batch_statistics and isinstance(part, _BatchNorm)
            if flag != wanted:
                part.training = wanted
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for part, flag in flags:
            if part.training != flag:
                part.training = flag
        drew = any(not torch.equal(*pair) for pair in zip(before, _random_state(device), strict=True))
        if drew:
            torch.set_rng_state(before[0])
            if device.type == "cuda":
                torch.cuda.set_rng_state(before[1], device)
    if drew:
        raise ValueError(
            "the module draws random numbers in evaluation mode: its loss is not a function of the weights; "
            "draw them in training mode only (self.training)"
        )


def check_batch_norm(module: nn.Module, *, batch_statistics: bool, smallest_chunk: int) -> None:
    """Raise ValueError where a batch norm of the module could not normalise in the mode asked for."""
    layers = {name: part for name, part in module.named_modules() if isinstance(part, _BatchNorm)}
    without = [name for name, part in layers.items() if part.running_mean is None]
    if without and not batch_statistics:
        raise ValueError(f"batch norm {without[0]!r} keeps no running statistics: measure with batch_norm='batch'")
    if layers and batch_statistics and smallest_chunk == 1:
        raise ValueError("batch_norm='batch' with a chunk of one example, which has no batch statistics: change chunk")


def _random_state(device: torch.device) -> list[Tensor]:
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]

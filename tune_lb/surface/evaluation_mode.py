"""Running a module to measure it, so that nothing of it or of the random state is changed."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tune_lb.surface.swapped import PYTHON_STATE
from tune_lb.trees import first_leaf, leaves


@contextmanager
def measuring(module: nn.Module, device: torch.device, *, batch_statistics: bool) -> Iterator[None]:
    """Put a module in evaluation mode, its batch norms in training mode if batch_statistics, and all flags back.

    Autocast is off inside, so that results have the dtype they are said to have; compiled networks run as they are written, for
    compiled code cannot be differentiated twice. A module that draws random numbers in
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
        with torch.autocast(device.type, enabled=False), _not_compiled():
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


def _not_compiled() -> AbstractContextManager[object]:
    # nothing is compiled in a process that has not loaded the compiler, which takes a second
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def check_batch_norm(module: nn.Module, mode: str, *, smallest_chunk: int) -> None:
    """Raise ValueError where a batch norm of the module could not normalise in the mode asked for (see LossSurface)."""
    layers = {name: part for name, part in module.named_modules() if isinstance(part, _BatchNorm)}
    without = [name for name, part in layers.items() if part.running_mean is None]
    if without and mode != "batch":
        raise ValueError(f"batch norm {without[0]!r} keeps no running statistics: measure with batch_norm='batch'")
    if layers and mode != "running" and smallest_chunk == 1:
        raise ValueError(
            f"batch_norm={mode!r} with a chunk of one example, which has no batch statistics: change chunk"
        )


def recalibrated(
    module: nn.Module, params: Mapping[str, Tensor], buffers: dict[str, Tensor], chunks: Iterable[Any]
) -> dict[str, Tensor]:
    """Return the buffers with batch-norm statistics recomputed over chunks of inputs, in one pass.

    Chunks of c_k examples enter with momentum c_k / (c_1 + ... + c_k), so that every example weighs the same; data that
    are one chunk get their exact statistics. A network without running statistics keeps its buffers. Dropout is off.
    """
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not layers:
        return buffers
    updated = {name: value.clone() for name, value in buffers.items()}
    momenta = [layer.momentum for layer in layers]
    device = next(iter(params.values())).device
    seen = 0
    try:
        with torch.no_grad(), measuring(module, device, batch_statistics=True):
            for inputs in chunks:
                number = len(first_leaf(inputs))
                seen += number
                for layer in layers:
                    layer.momentum = number / seen
                torch.func.functional_call(module, (dict(params), updated), (inputs,))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    return updated


def check_examples(inputs: Any, targets: Tensor, chunk: int | None) -> None:
    """Raise ValueError where there is not one target for each of at least one input, or no example in a chunk."""
    numbers = {len(leaf) for leaf in leaves(inputs)}
    if numbers != {len(targets)} or not len(targets):
        given = " and ".join(map(str, sorted(numbers))) or "no"
        raise ValueError(f"{given} inputs and {len(targets)} targets: give one target for each of at least one input")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk = {chunk}: give 1 or more examples, or None")


def check_names_and_shapes(what: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise ValueError where tensors by name are not those that a module has."""
    if given.keys() != own.keys():
        missing, unknown = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
        raise ValueError(f"the {what} are not the module's: missing {missing}, unknown {unknown}")
    for name, value in given.items():
        if value.shape != own[name].shape and name != PYTHON_STATE:
            raise ValueError(
                f"{what}: {name} is {tuple(value.shape)}, the module's {tuple(own[name].shape)}: give one member's"
            )


def checked_weights(weights: Tensor, num_samples: int) -> Tensor:
    """Return weights of examples (num_samples,) as they are. Raises ValueError where they are no weights."""
    if weights.shape != (num_samples,):
        raise ValueError(f"weights of shape {tuple(weights.shape)}: give one for each of the {num_samples} examples")
    if not bool((weights >= 0).all()) or not 0 < float(weights.double().sum()) < math.inf:
        raise ValueError("weights: give finite numbers, none negative and not all 0")
    return weights


def float_dtype(found: Sequence[torch.dtype], asked: torch.dtype | None) -> torch.dtype:
    """Return the type to compute in: the one asked for, else the one found. Raises ValueError for other than two."""
    kinds = set(found) if asked is None else {asked}
    if len(kinds) != 1 or not kinds <= {torch.float32, torch.float64}:
        raise ValueError(f"dtype {', '.join(sorted(map(str, kinds)))}: give dtype=torch.float32 or torch.float64")
    return kinds.pop()


def _random_state(device: torch.device) -> list[Tensor]:
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


MAX_CHUNK_ELEMENTS = 2**21
"""Largest number of input elements in a chunk whose size nobody has given: 2,048 MNIST images, 682 CIFAR images."""


def chunk_size(inputs: Any) -> int:
    """Return the size of the fewest equal chunks of inputs (N, ...), or a tree of them, of at most MAX_CHUNK_ELEMENTS elements."""
    number = len(first_leaf(inputs))
    largest = max(1, MAX_CHUNK_ELEMENTS // max(1, sum(int(leaf[0].numel()) for leaf in leaves(inputs))))
    num_chunks = -(-number // largest)
    return -(-number // num_chunks)

"""Running a module to measure it, so that nothing of it or of the random state is changed."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tune_lb.arithmetic import float32
from tune_lb.streams import GlobalState, global_state
from tune_lb.surface.swapped import PYTHON_STATE
from tune_lb.trees import first_leaf, leaves, mapped


@contextmanager
def measuring(module: nn.Module, device: torch.device, *, batch_statistics: bool) -> Iterator[None]:
    """Put a module in evaluation mode, its batch norms in training mode if batch_statistics, and all flags back.

    Autocast and TF32 are off inside, so that results have the dtype they are said to have; compiled networks run as they are
    written, for compiled code cannot be differentiated twice. A module that draws random numbers in this mode (torch's, NumPy's,
    Python's) raises RandomInEvaluation at the end of the block, as its loss is not a function of its weights; the generators are
    put back, and so are attributes that a module of somebody's own has set. Buffers are the caller's to protect: batch norm writes
    into them.
    """
    flags = [(part, part.training) for part in module.modules()]
    own = [
        (part, dict(vars(part))) for part, _ in flags if not type(part).__module__.startswith(("torch.", "tune_lb."))
    ]
    before, drew = global_state(), False
    try:
        for part, flag in flags:
            wanted = batch_statistics and isinstance(part, _BatchNorm)
            if flag != wanted:
                part.training = wanted
        with torch.autocast(device.type, enabled=False), _not_compiled(), float32():
            yield
    finally:
        for part, attributes in own:
            vars(part).clear()
            vars(part).update(attributes)
        for part, flag in flags:
            if part.training != flag:
                part.training = flag
        drew = bool(before.moved(global_state()))
        if drew:
            before.put_back()
    if drew:
        raise RandomInEvaluation(
            "the module draws random numbers in evaluation mode: its loss is not a function of the weights; "
            "draw them in training mode only (self.training)"
        )


class RandomInEvaluation(ValueError):
    """A module draws random numbers in evaluation mode."""


def drawing_part(module: nn.Module, inputs: Any) -> str:
    """Return the name and the type of the innermost part of a module that draws random numbers in evaluation mode, "" for none."""
    found: list[str] = []
    states: list[GlobalState] = []

    def before(part: nn.Module, arguments: Any) -> None:
        states.append(global_state())

    def after(name: str, part: nn.Module, arguments: Any, outputs: Any) -> None:
        # the innermost comes to its end first
        if states.pop().moved(global_state()):
            found.append(f"{name or 'the network'} ({type(part).__name__})")

    hooks = [part.register_forward_pre_hook(before) for part in module.modules()]
    hooks += [part.register_forward_hook(functools.partial(after, name)) for name, part in module.named_modules()]
    try:
        device = next(module.parameters()).device
        with contextlib.suppress(Exception), torch.no_grad(), measuring(module, device, batch_statistics=False):
            module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""


def _not_compiled() -> AbstractContextManager[object]:
    # nothing is compiled in a process that has not loaded the compiler, which takes a second
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def check_batch_norm(module: nn.Module, mode: str, *, smallest_chunk: int) -> None:
    """Raise ValueError where a batch norm of the module could not normalise in the mode asked for (see LossSurface)."""
    if mode != "running" and smallest_chunk == 1 and any(isinstance(part, _BatchNorm) for part in module.modules()):
        raise ValueError(
            f"batch_norm={mode!r} with a chunk of one example, which has no batch statistics: change chunk"
        )


def batch_norm_used(module: nn.Module, mode: str) -> str:
    """Return where batch norm's statistics come from: the mode asked for, and the chunk where layers keep no running ones."""
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    without = sum(part.running_mean is None for part in layers)
    if mode == "batch" or not without:
        return mode
    return "batch" if without == len(layers) else f"{mode}+batch"


def recalibrated(
    module: nn.Module, params: Mapping[str, Tensor], buffers: dict[str, Tensor], chunks: Iterable[Any]
) -> dict[str, Tensor]:
    """Return the buffers with batch-norm statistics recomputed over chunks of inputs, in one pass.

    Chunks of c_k examples enter with momentum c_k / (c_1 + ... + c_k), so that every example weighs the same; data that
    are one chunk get their exact statistics. A layer that is used several times in a pass gets the mean over its uses, as from
    torch.optim.swa_utils.update_bn. A network without running statistics keeps its buffers. Dropout is off.
    """
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not layers:
        return buffers
    updated = {name: value.clone() for name, value in buffers.items()}
    momenta = [layer.momentum for layer in layers]
    device = next(iter(params.values())).device
    number, seen = 0, dict.fromkeys(layers, 0)

    def weigh(layer: Any, arguments: Any) -> None:
        seen[layer] += number
        layer.momentum = number / seen[layer]

    hooks = [layer.register_forward_pre_hook(weigh) for layer in layers]
    try:
        with torch.no_grad(), measuring(module, device, batch_statistics=True):
            for inputs in chunks:
                number = len(first_leaf(inputs))
                torch.func.functional_call(module, (dict(params), updated), (inputs,))
    finally:
        for hook in hooks:
            hook.remove()
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


def apart(inputs: Any, data: Any) -> Any:
    """Return inputs of a network (a tree) with copies in place of leaves that share memory with the data, for it to write into."""
    kept = {leaf.untyped_storage().data_ptr() for leaf in leaves(data)}
    return mapped(lambda leaf: leaf.clone() if leaf.untyped_storage().data_ptr() in kept else leaf, inputs)


MAX_CHUNK_ELEMENTS = 2**21
"""Largest number of input elements in a chunk whose size nobody has given: 2,048 MNIST images, 682 CIFAR images."""


def chunk_size(inputs: Any, number: int | None = None) -> int:
    """Return the size of the fewest equal chunks of inputs (N, ...), or a tree of them, of at most MAX_CHUNK_ELEMENTS elements.

    number: how many such inputs there are; None: N.
    """
    number = len(first_leaf(inputs)) if number is None else number
    largest = max(1, MAX_CHUNK_ELEMENTS // max(1, sum(int(leaf[0].numel()) for leaf in leaves(inputs))))
    num_chunks = -(-number // largest)
    return -(-number // num_chunks)

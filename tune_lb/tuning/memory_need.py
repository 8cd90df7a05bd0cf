"""What an update needs of a machine's memory, from the graph of a few examples: on a CPU, running out of it kills the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tune_lb.data.device import Parts
from tune_lb.space.designs import ArmDesign
from tune_lb.training.remedy import overrides
from tune_lb.training.trial import Trial

FEW = 2
"""Examples whose graph is measured, and twice as many: the difference is what an example takes."""

COPIES = 4
"""Of the weights, in training: themselves, a gradient, the optimiser's state, and what is evaluated."""


def memory_problems(
    designs: Sequence[ArmDesign],
    trials: Mapping[str, Trial],
    parts: Mapping[str, Parts],
    *,
    available: int | None,
    processes: int,
    microbatch: int | str | None,
) -> list[str]:
    """Return a line for each arm whose largest batch cannot be in the memory that there is.

    available: bytes, of all processes of this machine together; None where that is not known, and nothing is said. What is stated
    is the least that an update takes: what the gradient needs of every layer, and COPIES of the weights; arms whose remedies take
    gradients themselves, perhaps piece by piece, are left to the others of their batch. On a GPU the size that fits is found by
    trying it (tune_lb/training/microbatch_size.py).
    """
    found = []
    for design in designs:
        trial, own = trials[design.name], parts[design.name]
        by_itself = any(overrides(remedy, "gradient") for remedy in trial.active)
        if available is None or by_itself or own.train.device.type != "cpu":
            continue
        batch = _largest_batch(design, trial, len(own.train), microbatch)
        of_weights, of_example = _bytes(trial, own)
        need = COPIES * of_weights + batch * of_example
        if need * processes > available:
            fit = available // max(1, need)
            advice = f"--max-concurrent {fit}, " if fit else ""
            each = f" in each of {processes} processes" if processes > 1 else ""
            found.append(
                f"arm {design.name!r}: an update of {batch:,} examples takes at least {size(need)} of memory{each}, of which "
                f"{size(available)} are left: give {advice}microbatch, a smaller batch, or take a larger machine"
            )
    return found


def _largest_batch(design: ArmDesign, trial: Trial, num_train: int, microbatch: int | str | None) -> int:
    """Return the most examples that go through the network at a time, at the end of what is searched."""
    asked = design.dimensions.get("batch_size")
    largest = int(max([*trial.plan(num_train).batch_sizes, *(asked.to_check() if asked is not None else ())]))
    return min(largest, microbatch) if isinstance(microbatch, int) else largest


def _bytes(trial: Trial, parts: Parts) -> tuple[int, int]:
    """Return the bytes of the weights, and of what an example leaves for its gradient."""
    try:
        with torch.random.fork_rng(devices=[]):
            module = trial.network(parts.input_shape, parts.num_classes).train()
            few, more = (_graph_bytes(trial, module, parts, number) for number in (FEW, 2 * FEW))
    except Exception:  # raised by the user's network or loss: the checks of networks say so
        return 0, 0
    return sum(value.nbytes for value in module.parameters()), max(0, more - few) // FEW


def _graph_bytes(trial: Trial, module: nn.Module, parts: Parts, number: int) -> int:
    """Return what the gradient of a loss keeps, each piece of memory once."""
    kept: dict[int, int] = {}

    def seen(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return value

    inputs, targets = parts.train.standardized(slice(0, number)), parts.train.first(number).targets
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(seen, lambda value: value):
        # named, so that no memory is used a second time before all is counted
        losses = trial.example_loss(module(inputs), targets)
    del losses
    return sum(kept.values())


def size(num_bytes: float) -> str:
    """Return bytes in words, as 1.2 GB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes / 1e3:.0f} kB"

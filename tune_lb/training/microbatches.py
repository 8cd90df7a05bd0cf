"""Microbatches: whether a batch may go through the network in microbatches, and how large these can be on a device.

The gradient over them is `tune_lb.training.pieces.over_microbatches`.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tune_lb.data.dataset import DataSet
from tune_lb.data.device import some_examples
from tune_lb.training.gradient import DROPOUT_KEY
from tune_lb.training.pieces import divisors, normalizes_by_batch
from tune_lb.training.remedy import Nesting
from tune_lb.training.trial import Trial
from tune_lb.trees import cast, is_tree, mapped

PROBED = 4
"""Examples on which is seen whether what a network gives for one hangs on the others."""


def microbatch_problems(
    trial: Trial, microbatch: int, num_train: int, module: nn.Module, shape: Sequence[int], examples: Any = None
) -> list[str]:
    """Return why the trial's gradients are not the same when they are taken from microbatches of so many examples.

    They are where no layer lets examples see one another, and where batch norm is by ghost groups that stay whole. module:
    the plain network, of whose batch norms ghost ones are made. shape: that of one example. examples: some network inputs, where
    they are not one tensor of real numbers.
    """
    lengths = _lengths(trial, num_train)
    if all(length <= microbatch for _, length in lengths):
        return []
    what = f"microbatch = {microbatch}"
    found = [
        f"{what} does not divide {name} = {length}; {divisors(length)}"
        for name, length in lengths
        if length > microbatch and length % microbatch
    ]
    if normalizes_by_batch(module) and not any(remedy.separates_batch_norm() for remedy in trial.active):
        found.append(
            f"{what}: the network normalizes with statistics of the whole batch, which its microbatches do not have; add "
            "ghost_batch_norm, whose groups can stay whole, or take another normalization, or leave microbatch out"
        )
    for remedy in trial.active:
        found += remedy.microbatch_problems(microbatch, trial.batch_size)
    if not found and mixes_examples(module, shape, examples):
        found.append(
            f"{what}: what the network gives for an example hangs on the others of the batch, or on random numbers of its own "
            "(dropout: wrap the network in tune_lb.models.keyed); leave microbatch out"
        )
    return found


def asked_problems(trial: Trial, data: DataSet, microbatch: int | str | None, where: str) -> list[str]:
    """Return why parts of the size that is asked for would not give the same gradients, in any phase of the trial."""
    if microbatch is None or isinstance(microbatch, str):
        return []
    with torch.random.fork_rng(devices=[]):
        module = trial.network(data.input_shape, data.num_classes)
    given = (microbatch, len(data.train.targets), module, data.input_shape, some_examples(data, PROBED)[0])
    found = [problem for phase in trial.in_phases() for problem in microbatch_problems(phase, *given)]
    return [f"{where}: {problem}" for problem in dict.fromkeys(found)]


def _lengths(trial: Trial, num_train: int) -> list[tuple[str, int]]:
    """Return the numbers of examples of which gradients are taken, each with its column."""
    whole = not any(remedy.always_in_pieces for remedy in trial.active)
    lengths = [("batch_size", size) for size in sorted(trial.plan(num_train).batch_sizes) if whole]
    for remedy in trial.active:
        if remedy.nesting is Nesting.RESULT:
            lengths += remedy.piece_sizes().items()
    for remedy in trial.active:
        pieces = list(remedy.piece_sizes().items())
        if remedy.nesting is Nesting.POINT and pieces:
            lengths = lengths + pieces if remedy.takes_whole_batches() else pieces
    return lengths


def mixes_examples(module: nn.Module, shape: Sequence[int], examples: Any = None) -> bool:
    """Say whether the network in training mode, batch norm apart, gives for an example what hangs on the rest of the batch.

    Seen on a copy, from random inputs taken together and in two halves: outputs, and buffers after the pass. Random numbers
    that the network draws by itself show as well. The random state is left as it was.
    """
    generator = torch.Generator().manual_seed(0)
    if examples is None or (not is_tree(examples) and examples.is_floating_point()):
        inputs = torch.randn(PROBED, *shape, generator=generator, dtype=torch.float64)
    else:
        inputs = cast(mapped(lambda leaf: leaf[:PROBED].cpu(), examples), torch.float64)
    keys = torch.randint(1 << 62, (PROBED,), generator=generator)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        cuts = (slice(None), slice(0, None, 2), slice(1, None, 2))
        (whole, after), *halves = (_passed(module, mapped(operator.itemgetter(cut), inputs), keys[cut]) for cut in cuts)
    together = torch.stack([outputs for outputs, _ in halves], 1).flatten(0, 1)
    means = {name: torch.stack([buffers[name] for _, buffers in halves]).mean(0) for name in after}
    pairs = [(whole, together), *((after[name], means[name]) for name in after)]
    return not all(torch.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True) for a, b in pairs)


def _passed(module: nn.Module, inputs: Any, keys: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    network = copy.deepcopy(module).cpu().double().train()
    for part in network.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.forward = _unchanged  # type: ignore[assignment,method-assign]
        if DROPOUT_KEY in part._buffers:
            part._buffers[DROPOUT_KEY] = keys
    outputs: Tensor = network(inputs)
    return outputs, {name: value for name, value in network.named_buffers() if value.is_floating_point()}


def _unchanged(inputs: Tensor) -> Tensor:
    return inputs

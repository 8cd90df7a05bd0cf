"""The gradient variance of each layer in the course of a small-batch training, for `LayerNoise(profile=...)`."""

from __future__ import annotations

import bisect
import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from tune_lb.data.device import Parts
from tune_lb.streams import generator
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params, by_autograd, mean_gradient, on_targets
from tune_lb.training.noise_scope import ACTIVATION, ALL, WEIGHT, chosen_layers
from tune_lb.training.pieces import gradient_variances
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.trees import cast

NUM_PIECES = 32
"""Batches that the variance of a gradient is measured over, where nobody says."""


def variance_profile(
    trial: Trial, parts: Parts, *, seed: int = 0, num_pieces: int = NUM_PIECES, on: str = WEIGHT, layers: str = ALL
) -> tuple[tuple[float, ...], ...]:
    """Train one member of a small-batch trial and return V_l, a row for each epoch, a number for each parameter tensor.

    V_l = mean over the entries j of l of Var(g_j), over num_pieces batches of the trial's own size at the weights with
    which the epoch begins, in training mode. The batches are disjoint parts of one random order of the train set.
    on="activation": a number for each chosen layer's output y instead: the variance over the examples of those batches of an entry
    of dl/dy, l the loss of one example, mean over entries (see LayerNoise).
    Source: Hynes, "Towards Mini-Error with Maxi-Batch SGD", section 2.4: variances computed empirically from the model of
    batch 50.
    Cost: the training, and num_pieces gradients per epoch. Raises ValueError where the train set holds too few batches.
    """
    size, num_train = trial.batch_size, len(parts.train)
    if num_train < num_pieces * size or num_pieces < 2:
        raise ValueError(
            f"num_pieces = {num_pieces} batches of {size} examples: from 2 to {num_train // size} fit into the train set"
        )
    training = Training(trial, [seed], parts)
    meter = _Meter(training, seed, num_pieces, on, layers)
    profile = []
    while not training.done:
        member = next(iter(training.trained()))
        profile.append(meter.row(training.step, member.params, member.buffers))
        training.advance(1.0)
    return tuple(profile)


def num_pieces_of(batch_size: int, num_train: int) -> int:
    """Return how many batches a profile of kept weights is measured over: 32, or as many as the train set holds."""
    return min(NUM_PIECES, num_train // batch_size)


def profile_of_kept(
    trial: Trial,
    parts: Parts,
    seed: int,
    kept: Mapping[int, Mapping[str, Tensor]],
    *,
    on: str = WEIGHT,
    layers: str = ALL,
) -> tuple[tuple[float, ...], ...]:
    """Return the profile of a member that was trained, as variance_profile does, from its weights after epochs.

    kept: by epoch its parameters and buffers by name. A row for each epoch up to the last of these: that of the latest kept epoch
    that is not after it, or of the first. Cost: num_pieces_of(...) gradients of the trial's batch for each kept epoch.
    """
    training = Training(trial, [seed], parts)
    params, buffers = training.iterates()[seed]
    meter = _Meter(training, seed, num_pieces_of(trial.batch_size, len(parts.train)), on, layers)
    steps, epochs = [0], sorted(kept)
    for _ in range(epochs[-1]):
        steps.append(training.plan.next_stop(steps[-1], 1.0))
    rows = []
    for epoch in epochs:
        found = {
            name: value.to(training.device, training.dtype) for name, value in kept[epoch].items() if name in params
        }
        others = {name: kept[epoch].get(name, value).to(training.device) for name, value in buffers.items()}
        rows.append(meter.row(steps[epoch], {name: found[name] for name in params}, others))
    return tuple(rows[max(0, bisect.bisect_right(epochs, epoch) - 1)] for epoch in range(epochs[-1] + 1))


class _Meter:
    """Measures V_l of a training's network at any weights, in training mode."""

    def __init__(self, training: Training, seed: int, num_pieces: int, on: str, layers: str) -> None:
        self.training, self.seed, self.num_pieces, self.on, self.layers = training, seed, num_pieces, on, layers
        self.module = copy.deepcopy(training.evaluation_module).train()
        self.gradient = mean_gradient(self.module, on_targets(training.trial.example_loss), by_autograd)

    def row(self, step: int, params: Params, buffers: Buffers) -> tuple[float, ...]:
        """Return V_l at those weights; step: of the training, for the draws."""
        trial, train, size = self.training.trial, self.training.parts.train, self.training.trial.batch_size
        order = torch.randperm(len(train), generator=generator(trial.draws, self.seed, "variance_profile", step))
        index = order[: self.num_pieces * size].to(train.targets.device)
        inputs = cast(train.standardized(index), self.training.dtype)
        batch = Batch(inputs, train.targets[index], torch.tensor(step), {}, {})
        if self.on == ACTIVATION:
            return _at_outputs(self.module, self.layers, self.gradient, params, buffers, batch, self.num_pieces)
        variances = gradient_variances(self.gradient, params, buffers, batch, size)
        return tuple(float(value.mean()) for value in variances.values())


def _at_outputs(
    module: nn.Module,
    layers: str,
    gradient: GradientFn,
    params: Params,
    buffers: Buffers,
    batch: Batch,
    num_pieces: int,
) -> tuple[float, ...]:
    """Return the mean over entries of the variance over examples of dl/dy, for each chosen layer's output y."""
    places = [layer for _, layer in chosen_layers(module, layers)]
    seen: list[list[Tensor]] = [[] for _ in places]

    def noting(found: list[Tensor]) -> Callable[[nn.Module, object, Tensor], None]:
        def note(_: nn.Module, inputs: object, output: Tensor) -> None:
            # of the loss of one example: that of the mean holds one over their number
            output.register_hook(lambda value: found.append(value.detach() * len(value)))  # type: ignore[no-untyped-call]

        return note

    hooks = [layer.register_forward_hook(noting(found)) for layer, found in zip(places, seen, strict=True)]
    try:
        for j in range(num_pieces):
            gradient(params, buffers, batch.piece(j, num_pieces))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(float(torch.cat(found).var(0).mean()) for found in seen)

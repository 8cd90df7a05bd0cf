"""The gradient variance of each layer in the course of a small-batch training, for `LayerNoise(profile=...)`."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tune_lb.data.device import Parts
from tune_lb.streams import generator
from tune_lb.training.gradient import Batch, GradientFn, by_autograd, mean_gradient, on_targets
from tune_lb.training.members import TrainedMember
from tune_lb.training.noise_scope import ACTIVATION, ALL, WEIGHT, chosen_layers
from tune_lb.training.pieces import gradient_variances
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.trees import cast


def variance_profile(
    trial: Trial, parts: Parts, *, seed: int = 0, num_pieces: int = 32, on: str = WEIGHT, layers: str = ALL
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
    module = copy.deepcopy(training.evaluation_module).train()
    gradient = mean_gradient(module, on_targets(trial.example_loss), by_autograd)
    profile = []
    while not training.done:
        member = next(iter(training.trained()))
        order = torch.randperm(num_train, generator=generator(trial.draws, seed, "variance_profile", training.step))
        index = order[: num_pieces * size].to(parts.train.targets.device)
        inputs = cast(parts.train.standardized(index), training.dtype)
        batch = Batch(inputs, parts.train.targets[index], torch.tensor(training.step), {}, {})
        if on == ACTIVATION:
            profile.append(_at_outputs(module, layers, gradient, member, batch, num_pieces))
        else:
            variances = gradient_variances(gradient, member.params, member.buffers, batch, size)
            profile.append(tuple(float(value.mean()) for value in variances.values()))
        training.advance(1.0)
    return tuple(profile)


def _at_outputs(
    module: nn.Module, layers: str, gradient: GradientFn, member: TrainedMember, batch: Batch, num_pieces: int
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
            gradient(member.params, member.buffers, batch.piece(j, num_pieces))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(float(torch.cat(found).var(0).mean()) for found in seen)

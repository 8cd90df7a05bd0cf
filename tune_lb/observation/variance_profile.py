"""The gradient variance of each layer in the course of a small-batch training, for `LayerNoise(profile=...)`."""

from __future__ import annotations

import copy

import torch

from tune_lb.data.device import Parts
from tune_lb.streams import generator
from tune_lb.training.gradient import Batch, by_autograd, mean_gradient, on_targets
from tune_lb.training.pieces import gradient_variances
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.trees import cast


def variance_profile(
    trial: Trial, parts: Parts, *, seed: int = 0, num_pieces: int = 32
) -> tuple[tuple[float, ...], ...]:
    """Train one member of a small-batch trial and return V_l, a row for each epoch, a number for each parameter tensor.

    V_l = mean over the entries j of l of Var(g_j), over num_pieces batches of the trial's own size at the weights with
    which the epoch begins, in training mode. The batches are disjoint parts of one random order of the train set.
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
        variances = gradient_variances(gradient, member.params, member.buffers, batch, size)
        profile.append(tuple(float(value.mean()) for value in variances.values()))
        training.advance(1.0)
    return tuple(profile)

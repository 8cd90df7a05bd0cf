"""What a network does in a forward pass beside computing its outputs, noticed while it trains, and once for all of a kind."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tune_lb.settings.identity import identity
from tune_lb.streams import seeded
from tune_lb.training.gradient import Params
from tune_lb.training.members import channels_last
from tune_lb.training.networks import Networks
from tune_lb.training.trial import Trial


@dataclass
class Habits:
    """What is known so far of the networks of a model in this process."""

    draws: bool = False
    """From global generators: each forward pass then finds them seeded, and they are put back after it."""
    writes: bool = False
    """Into its inputs: each forward pass then gets a copy."""
    takes_channels_last: bool | None = None
    """Whether it runs with the kernels' channels side by side in memory; a `view` after a convolution may not."""
    uses: float = math.inf
    """Multiplications by a weight of its convolutions for one example, on average over weights; not known: no end of them."""


FEWEST_USES = 128
"""Multiplications by a weight in an update from which kernels with channels last pay on a CPU.

Their gradients are put into that order by a copy of their own. torchvision's resnet18 on 32 x 32 pixels: 1.03 times as fast with
channels last at 213 (a batch of 64), 0.89 at 53 (16)."""

TRIED = 2
"""Examples on which it is tried."""

_known: dict[str, Habits] = {}


def habits_of(trial: Trial) -> Habits:
    """Return what is known of the trial's network: the same object for all trials whose networks and losses are made alike."""
    kinds = [f"{type(remedy).__module__}.{type(remedy).__qualname__}" for remedy in trial.active]
    try:
        key = json.dumps([identity(trial.model), identity(trial.loss), identity(trial.initialization), kinds])
    except TypeError:
        return Habits()  # a function that has no name: nothing else is made of it
    return _known.setdefault(key, Habits())


def laid_out(params: Params, habits: Habits, networks: Networks, examples: int) -> Params:
    """Return the parameters with kernels' channels last, where there are kernels, the network runs so and it pays.

    Convolutions are then a third faster on a CPU (benchmarks/train_step.py) and up to 2.5 times on a GPU (benchmarks/gpu.py).
    examples: that go through the network at a time.
    """
    if not any(value.dim() == 4 for value in params.values()) or not takes_channels_last(habits, networks):
        return params
    if networks.device.type == "cpu" and habits.uses * examples < FEWEST_USES:
        return params
    return {name: channels_last(value) for name, value in params.items()}


def takes_channels_last(habits: Habits, networks: Networks) -> bool:
    """Say whether the network runs with its kernels' channels last; tried once, on two examples, in both modes."""
    if habits.takes_channels_last is None:
        habits.takes_channels_last = _runs_with_channels_last(networks, habits)
    return habits.takes_channels_last


def _runs_with_channels_last(networks: Networks, habits: Habits) -> bool:
    module, seen = networks.fresh("channels_last"), _Uses()
    for parameter in module.parameters():
        parameter.data = channels_last(parameter.data)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(seen)
    try:
        with seeded("channels_last"), torch.no_grad():
            for training in (True, False):
                module.train(training)(networks.examples(slice(0, TRIED)))
    except RuntimeError:
        return False
    if seen.weights:
        habits.uses = seen.multiplications / seen.weights / TRIED
    return True


class _Uses:
    """Forward hook of convolutions: counts their weights, and the multiplications by them."""

    def __init__(self) -> None:
        self.weights = self.multiplications = 0

    def __call__(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        weight, places = layer.get_parameter("weight"), output.shape[0] * output.shape[2:].numel()
        self.weights += weight.numel()
        self.multiplications += weight.numel() * places

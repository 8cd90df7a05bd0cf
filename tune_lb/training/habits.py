"""What a network does in a forward pass beside computing its outputs, noticed while it trains, and once for all of a kind."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

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


_known: dict[str, Habits] = {}


def habits_of(trial: Trial) -> Habits:
    """Return what is known of the trial's network: the same object for all trials whose networks and losses are made alike."""
    kinds = [f"{type(remedy).__module__}.{type(remedy).__qualname__}" for remedy in trial.active]
    try:
        key = json.dumps([identity(trial.model), identity(trial.loss), identity(trial.initialization), kinds])
    except TypeError:
        return Habits()  # a function that has no name: nothing else is made of it
    return _known.setdefault(key, Habits())


def laid_out(params: Params, habits: Habits, networks: Networks) -> Params:
    """Return the parameters with kernels' channels last, where there are kernels and the network runs so.

    Convolutions are then a third faster on a CPU (benchmarks/train_step.py) and up to 2.5 times on a GPU (benchmarks/gpu.py).
    """
    if not any(value.dim() == 4 for value in params.values()) or not takes_channels_last(habits, networks):
        return params
    return {name: channels_last(value) for name, value in params.items()}


def takes_channels_last(habits: Habits, networks: Networks) -> bool:
    """Say whether the network runs with its kernels' channels last; tried once, on two examples, in both modes."""
    if habits.takes_channels_last is None:
        habits.takes_channels_last = _runs_with_channels_last(networks)
    return habits.takes_channels_last


def _runs_with_channels_last(networks: Networks) -> bool:
    module = networks.fresh("channels_last")
    for parameter in module.parameters():
        parameter.data = channels_last(parameter.data)
    try:
        with seeded("channels_last"), torch.no_grad():
            for training in (True, False):
                module.train(training)(networks.examples(slice(0, 2)))
    except RuntimeError:
        return False
    return True

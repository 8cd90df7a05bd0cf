"""Fresh networks of a trial, and the tensors that its members begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tune_lb.data.device import Parts
from tune_lb.streams import seeded
from tune_lb.training.gradient import Buffers, Params
from tune_lb.training.python_state import carrying_state
from tune_lb.training.trial import Trial
from tune_lb.trees import cast, mapped

Start = tuple[Params, Buffers]
"""Trainable parameters; buffers, the frozen parameters among them."""


class Networks:
    """Makes a trial's networks on a device, each from random streams of its own.

    starts: by seed what members begin with, where not what the seed draws. carries_state: whether what a network keeps in
    Python attributes travels among its buffers (see python_state).
    """

    def __init__(
        self,
        trial: Trial,
        parts: Parts,
        dtype: torch.dtype,
        starts: Mapping[int, Start] | None = None,
        *,
        carries_state: bool = False,
    ) -> None:
        self.trial, self.parts, self.dtype, self.starts = trial, parts, dtype, starts
        self.device, self.carries_state = parts.train.device, carries_state

    def fresh(self, *purpose: object) -> nn.Module:
        """Return a network drawn for a purpose; nobody else's draws change."""
        with seeded(self.trial.draws, *purpose):
            module = self.trial.network(self.parts.input_shape, self.parts.num_classes).to(self.device, self.dtype)
        return carrying_state(module) if self.carries_state else module

    def examples(self, chosen: slice) -> Any:
        """Return train examples as network inputs, copies that a network may write into."""
        return mapped(torch.clone, cast(self.parts.train.standardized(chosen), self.dtype))

    def of_seed(self, seed: int) -> nn.Module:
        """Return the network that a member begins with, made anew."""
        return self.fresh(seed, "initialization")

    def start(self, seed: int) -> Start:
        """Return what a member begins with."""
        own, buffers = tensors(self.of_seed(seed))
        if self.starts is None:
            return own, buffers
        given = {n: v.to(self.device, copy=True) for n, v in (self.starts[seed][0] | self.starts[seed][1]).items()}
        return {name: given[name] for name in own}, {name: given.get(name, value) for name, value in buffers.items()}


def tensors(module: nn.Module) -> Start:
    """Return a network's own tensors as a start."""
    params = {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}
    frozen = {name: value.detach() for name, value in module.named_parameters() if not value.requires_grad}
    return params, dict(module.named_buffers()) | frozen

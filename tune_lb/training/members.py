"""Members: what one program trains at a time, and what is left of each."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from tune_lb.training.gradient import Buffers, GradientFn, Params
from tune_lb.training.remedy import State, StepFn


class HistoryRow(NamedTuple):
    """One observed quantity of one member."""

    seed: int
    step: int
    epoch: float
    name: str
    value: float


@dataclass
class TrainedMember:
    """What is left of one training: weights and buffers as they were at its end."""

    seed: int
    params: Params
    buffers: Buffers
    diverged_at_step: int | None
    stopped_at_step: int | None = None
    """The updates made, where a budget that watches the loss ended it before its limit."""
    alternatives: dict[str, Params] = field(default_factory=dict)
    """Other parameters that are evaluated too, by name: the last ones beside an average, other windows."""


@dataclass
class Members:
    """Members of one trial that one program trains: a single one, or several stacked along a leading dimension."""

    seeds: list[int]
    params: Params
    buffers: Buffers
    states: dict[str, State]
    optimizer: torch.optim.Optimizer
    gradient: GradientFn
    """What each update is given, remedies included."""
    run: StepFn
    """Makes one step on the parameters."""
    step: int = 0
    losses: list[Tensor] = field(default_factory=list)
    """Losses since the last report, one tensor per step."""
    diverged_at: dict[int, int] = field(default_factory=dict)
    stopped_at: dict[int, int] = field(default_factory=dict)
    epoch_losses: list[float] = field(default_factory=list)
    """Mean training loss of every pass so far, for a budget that watches it; such members are trained alone."""
    open_epoch: list[float] = field(default_factory=list)
    """Losses of the pass that is not yet complete."""

    @property
    def ended(self) -> bool:
        """Say whether no member goes on."""
        return len(self.diverged_at) + len(self.stopped_at) >= len(self.seeds)

    def checkpoint(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on, as named tensors, copied."""
        ends = [self.diverged_at.get(seed, -1) for seed in self.seeds]
        found = {"step": torch.tensor(self.step), "diverged_at": torch.tensor(ends)}
        found["stopped_at"] = torch.tensor([self.stopped_at.get(seed, -1) for seed in self.seeds])
        for name in ("epoch_losses", "open_epoch"):
            found[name] = torch.tensor(getattr(self, name), dtype=torch.float64)
        found |= {f"params/{name}": value for name, value in self.params.items()}
        found |= {f"buffers/{name}": value for name, value in self.buffers.items()}
        for remedy, state in self.states.items():
            found |= {f"states/{remedy}/{name}": value for name, value in state.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
        return {name: value.detach().clone().contiguous() for name, value in found.items()}

    def restore(self, checkpoint: Mapping[str, Tensor]) -> None:
        """Take over a checkpoint of members of the same trial and seeds."""
        self.step = int(checkpoint["step"])
        ends = checkpoint["diverged_at"].tolist()
        self.diverged_at = {seed: end for seed, end in zip(self.seeds, ends, strict=True) if end >= 0}
        stops = checkpoint["stopped_at"].tolist()
        self.stopped_at = {seed: end for seed, end in zip(self.seeds, stops, strict=True) if end >= 0}
        self.epoch_losses, self.open_epoch = checkpoint["epoch_losses"].tolist(), checkpoint["open_epoch"].tolist()
        for name, value in self.params.items():
            value.copy_(checkpoint[f"params/{name}"])
        self.buffers = {name: checkpoint[f"buffers/{name}"].to(value.device) for name, value in self.buffers.items()}
        self.states = {
            remedy: {name: checkpoint[f"states/{remedy}/{name}"].to(value.device) for name, value in state.items()}
            for remedy, state in self.states.items()
        }
        stored: dict[int, dict[str, Tensor]] = {}
        for key, value in checkpoint.items():
            if key.startswith("optimizer/"):
                _, index, name = key.split("/", 2)
                stored.setdefault(int(index), {})[name] = value
        # a copy, or the optimiser would go on in the checkpoint's own tensors
        self.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict() | {"state": stored}))


def channels_last(value: Tensor) -> Tensor:
    """Return a kernel with its channels side by side in memory; any other tensor as it is."""
    return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value


def part_of(number: int, checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a checkpoint of a training that is one of its groups of members."""
    return {k.removeprefix(f"{number}/"): value for k, value in checkpoint.items() if k.startswith(f"{number}/")}

"""What a training in progress offers, of a trial with phases or without: all that observers, jobs and estimates rely on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from tune_lb.data.device import Parts
from tune_lb.training.gradient import Buffers, Params
from tune_lb.training.members import HistoryRow, Members, TrainedMember
from tune_lb.training.noiseless import Noiseless
from tune_lb.training.plan import Plan
from tune_lb.training.trial import Trial


class Running(Protocol):
    """The members of a trial while they train. Steps, epochs and updates count over all phases."""

    trial: Trial
    plan: Plan
    execution: str
    dtype: torch.dtype

    @property
    def parts(self) -> Parts:
        """Return the data on the device."""
        ...

    @property
    def device(self) -> torch.device:
        """Return where it trains."""
        ...

    @property
    def microbatch(self) -> int | None:
        """Return the examples that go through the network at a time; None: the whole batch."""
        ...

    @property
    def evaluation_module(self) -> nn.Module:
        """Return the network, in evaluation mode."""
        ...

    @property
    def groups(self) -> Sequence[Members]:
        """Return the members that train now, those that are stacked together."""
        ...

    @property
    def step(self) -> int:
        """Return the updates done."""
        ...

    @property
    def epoch(self) -> float:
        """Return the passes over the train set done."""
        ...

    @property
    def done(self) -> bool:
        """Say whether the budget is spent, or every member has ended before."""
        ...

    def advance(self, epochs: float = 1.0) -> list[HistoryRow]:
        """Train every member to the next multiple of so many epochs (at least one update) and return what was observed."""
        ...

    def next_stop(self, epochs: float = 1.0) -> int:
        """Return the step at which advance(epochs) stops."""
        ...

    def gradients(self, of: Noiseless | None = None) -> dict[int, Params]:
        """Return by seed what each next update is given as its gradient (or without noise, by `of`); nothing changes."""
        ...

    def initial(self, seed: int) -> Params:
        """Return the trainable parameters that a member began with, made anew."""
        ...

    def iterates(self) -> dict[int, tuple[Params, Buffers]]:
        """Return by seed the parameters and buffers as they are, before anything is made of them for evaluation."""
        ...

    def trained(self) -> Iterator[TrainedMember]:
        """Yield every member with the parameters to be evaluated."""
        ...

    def evaluate(self) -> list[HistoryRow]:
        """Return clean train and validation loss and error of every member that has not diverged, now."""
        ...

    def checkpoint(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on, as named tensors; call it between two calls of advance."""
        ...

    def restore(self, checkpoint: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint of a training of the same trial, seeds and execution."""
        ...

"""The train loss at and between two iterates, over the same examples throughout, and how far rounding moves it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from tune_lb.data.device import Examples
from tune_lb.observation.surfaces import surface_over
from tune_lb.space.observation import Walk
from tune_lb.streams import generator
from tune_lb.surface.derivatives import flat
from tune_lb.surface.evaluation_mode import batch_norm_used, chunk_size
from tune_lb.training.evaluation import recalibrated
from tune_lb.training.gradient import Buffers, Params
from tune_lb.training.running import Running

PROTOCOL_COLUMNS = {
    "walk.num_samples": "examples that the walk's losses are taken over",
    "walk.batch_norm": "batch-norm statistics at each point: recomputed over these examples (recalibrated), of each chunk (batch)",
    "walk.chunk": "examples in one forward pass; part of the protocol where walk.batch_norm is batch",
}


class Valley(NamedTuple):
    """What the losses along one update say; see Walk."""

    floor: float | None
    height: float
    barrier: float


def valley(losses: list[float]) -> Valley:
    """Return floor, height and barrier of the losses at w_t, between, and at w_(t+1)."""
    first, *between, last = losses
    floor = min(between)
    barrier = max(0.0, max(between) - max(first, last))
    return Valley(floor if floor < min(first, last) else None, (first + last) / 2 - min(losses), barrier)


@dataclass
class Iterate:
    """A member's own weights, before anything is made of them for evaluation."""

    params: Params
    buffers: Buffers
    names: list[str]
    """The trainable ones."""
    point: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.point = vector(self.params, self.names)


class WalkLosses:
    """Takes the losses of a walk: over the whole train set, or over the same max_samples examples of it every time."""

    def __init__(self, walk: Walk, training: Running) -> None:
        self.walk, self.training = walk, training
        self.shares = [i / (walk.points + 1) for i in range(walk.points + 2)]
        self.num_samples = walk.max_samples
        self._part: Examples | None = None

    @property
    def part(self) -> Examples:
        """Return the examples that losses are taken over."""
        train = self.training.parts.train
        if self.num_samples is None or self.num_samples >= len(train):
            return train
        if self._part is None:
            index = (
                torch.randperm(len(train), generator=generator("walk", "examples"))[: self.num_samples].sort().values
            )
            self._part = dataclasses.replace(train, rows=train.rows_at(index.to(train.inputs_device)))
        return self._part

    def protocol(self) -> dict[str, str | int]:
        """Return how losses are taken, under the names of PROTOCOL_COLUMNS."""
        part = self.part
        mode = batch_norm_used(self.training.evaluation_module, self.walk.batch_norm)
        chunk = chunk_size(part.all_inputs, len(part))
        return {"walk.num_samples": len(part), "walk.batch_norm": mode, "walk.chunk": chunk}

    def along(self, before: Iterate, after: Iterate, first: float | None) -> list[float]:
        """Return the losses at every share of the way, both ends included. first: the loss at `before`, if it is known."""
        start = self.at(before, before, 0.0) if first is None else first
        return [start, *(self.at(before, after, share) for share in self.shares[1:])]

    def rounding(self, before: Iterate, after: Iterate, losses: list[float]) -> float:
        """Return max_a r(a) - min_a r(a), r = loss - loss in float64 at the same points: what rounding makes of a flat line.

        Cost: points + 2 losses in float64; none where members are trained in it.
        """
        if self.training.dtype == torch.float64 or not all(map(math.isfinite, losses)):
            return 0.0
        exact = [self.at(before, after if share else before, share, torch.float64) for share in self.shares]
        errors = [loss - other for loss, other in zip(losses, exact, strict=True)]
        return max(errors) - min(errors)

    def at(self, before: Iterate, after: Iterate, share: float, dtype: torch.dtype | None = None) -> float:
        """Return the train loss at before + share (after - before), exactly `after` at share 1."""
        training, part = self.training, self.part
        params = after.params
        if share < 1:
            params = {name: torch.lerp(value, after.params[name], share) for name, value in before.params.items()}
        with_batch = self.walk.batch_norm == "batch"
        params, own = (
            {name: value.to(dtype) if dtype and value.is_floating_point() else value for name, value in tree.items()}
            for tree in (params, after.buffers)
        )
        buffers = own if with_batch else recalibrated(training.evaluation_module, params, own, part)
        mode = "batch" if with_batch else "running"
        return surface_over(
            training.evaluation_module, (params, buffers), training.trial.example_loss, part, batch_norm=mode
        ).value()


def vector(tree: Params, names: list[str]) -> Tensor:
    """Return the named tensors as one float64 vector."""
    return flat([tree[name].double() for name in names])

"""The batches of stacked members of several trainings: each member's own, read with as few calls as can be."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tune_lb.training.batch_stream import BatchStream
from tune_lb.training.gradient import Batch, stack
from tune_lb.trees import cast, first_leaf, mapped

EXAMPLES_AHEAD = 4096
"""Rows of so many examples of each member are drawn at a time: one slice per update in place of one per member."""


class StackedBatches:
    """Gives the batches of members as one, with a leading member dimension; `values` are left to the caller.

    members: each one's stream and seed, all of the same plan. Members of one seed and one train set see the same examples and draws
    (salts apart), which are then read and drawn once.
    """

    def __init__(self, members: Sequence[tuple[BatchStream, int]]) -> None:
        self.members = members
        self.plan, self.dtype = members[0][0].plan, members[0][0].dtype
        sources: dict[tuple[object, ...], list[int]] = {}
        for i, (stream, _) in enumerate(members):
            sources.setdefault(_source(stream), []).append(i)
        self.by_source = list(sources.values())
        self._ahead: tuple[int, int, Tensor] | None = None

    def batch(self, step: int) -> Batch:
        """Return the batches of a step; a pure function of it."""
        index = self._index(step)
        inputs, targets = self._examples(index)
        drawn: dict[Any, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
        own = []
        for i, (stream, seed) in enumerate(self.members):
            key = (stream.trial.draws, seed, id(stream.train), tuple(stream.drawing))
            if key not in drawn:
                drawn[key] = stream.drawn(seed, step, mapped(operator.itemgetter(i), inputs))
            own.append(drawn[key])
        draws, examples = (stack(list(trees)) for trees in zip(*own, strict=True))
        return Batch(inputs, targets, torch.tensor(step, device=targets.device), draws, {}, examples)

    def _examples(self, index: Tensor) -> tuple[Any, Tensor]:
        """Return inputs (members, B, ...) and targets."""
        found = []
        for places in self.by_source:
            stream = self.members[places[0]][0]
            own = index if len(self.by_source) == 1 else index[places]
            flat = cast(stream.train.standardized_rows(own.flatten()), self.dtype)
            inputs = mapped(lambda leaf, own=own: leaf.view(*own.shape, *leaf.shape[1:]), flat)
            found.append((inputs, stream.targets_at(own)))
        if len(found) == 1:
            return found[0]
        order = torch.tensor([place for places in self.by_source for place in places], device=index.device).argsort()
        inputs = mapped(lambda *parts: torch.cat(parts)[order], *(inputs for inputs, _ in found))
        return inputs, torch.cat([targets for _, targets in found])[order]

    def _index(self, step: int) -> Tensor:
        """Return the rows of a step's examples, (members, B)."""
        start, stop = self.plan.boundaries[step : step + 2]
        if self._ahead is None or not self._ahead[0] <= start <= stop <= self._ahead[1]:
            last = step + 1
            while last < self.plan.num_updates and self.plan.boundaries[last + 1] - start <= EXAMPLES_AHEAD:
                last += 1
            end = self.plan.boundaries[last]
            known: dict[Any, Tensor] = {}
            for stream, seed in self.members:
                key = (stream.trial.draws, seed, id(stream.train))
                if key not in known:
                    known[key] = stream.order(seed, start, end)
            own = [known[stream.trial.draws, seed, id(stream.train)] for stream, seed in self.members]
            self._ahead = (start, end, torch.stack(own))
        begun, _, rows = self._ahead
        return rows[:, start - begun : stop - begun]


def _source(stream: BatchStream) -> tuple[object, ...]:
    """Return what members have in common whose examples are rows of the same tensors, as splits of one data set are."""
    train = stream.train
    constants = [str(v.flatten().tolist()) if isinstance(v, Tensor) else v for v in (train.offset, train.scale)]
    return (id(first_leaf(train.all_inputs)), id(train.all_targets), *constants)

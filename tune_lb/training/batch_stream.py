"""The batches of a training: which examples a step sees, and the random draws it needs."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tune_lb.data.device import Examples
from tune_lb.streams import generator
from tune_lb.training.gradient import DROPOUT_KEY, Batch, stack
from tune_lb.training.plan import Plan
from tune_lb.training.remedy import overrides
from tune_lb.training.trial import Trial
from tune_lb.trees import cast, first_leaf, mapped

Tensors = dict[str, Tensor]


class BatchStream:
    """Gives any member's batch of any step; a pure function of (seed, step), whatever was asked for before.

    num_parameters: length of the noise that remedies may draw. values: see Batch. keys: whether every example is given a key, from
    which the masks of keyed dropout are made and global generators are seeded.
    """

    def __init__(
        self,
        trial: Trial,
        plan: Plan,
        train: Examples,
        num_parameters: int,
        values: Mapping[str, Tensor],
        dtype: torch.dtype,
        *,
        keys: bool = False,
    ) -> None:
        self.trial, self.plan, self.train, self.values, self.dtype = trial, plan, train, values, dtype
        self.num_parameters, self.keys = num_parameters, keys
        self.drawing = [remedy for remedy in trial.active if overrides(remedy, "draws")]
        self._orders: dict[int, dict[int, Tensor]] = {}

    def batch(self, seed: int, step: int) -> Batch:
        """Return the batch of a member's step."""
        index = self._order(seed, step)
        inputs = cast(self.train.standardized_rows(index), self.dtype)
        return self._batch(inputs, self.targets_at(index), step, *self.drawn(seed, step, inputs))

    def of_members(self, seeds: Sequence[int], step: int) -> Batch:
        """Return the batches of a step of several members as one, with a leading member dimension; read in one go."""
        index = torch.stack([self._order(seed, step) for seed in seeds])
        flat = cast(self.train.standardized_rows(index.flatten()), self.dtype)
        inputs = mapped(lambda leaf: leaf.view(*index.shape, *leaf.shape[1:]), flat)
        if not self.drawing and not self.keys:
            return self._batch(inputs, self.targets_at(index), step, {}, {})
        drawn = [self.drawn(seed, step, mapped(operator.itemgetter(i), inputs)) for i, seed in enumerate(seeds)]
        draws, examples = (stack(list(trees)) for trees in zip(*drawn, strict=True))
        return self._batch(inputs, self.targets_at(index), step, draws, examples)

    def targets_at(self, index: Tensor) -> Tensor:
        """Return the targets of rows of all examples, real ones in the stream's dtype."""
        targets = self.train.all_targets[index]
        return targets.to(self.dtype) if targets.is_floating_point() else targets

    def _batch(self, inputs: Any, targets: Tensor, step: int, draws: Tensors, examples: Tensors) -> Batch:
        # filled there: a tensor made on the host would be waited for
        number = torch.full((), step, dtype=torch.int64, device=targets.device)
        return Batch(inputs, targets, number, draws, self.values, examples)

    def drawn(self, seed: int, step: int, inputs: Any) -> tuple[Tensors, Tensors]:
        """Return the remedies' draws, and what belongs to each example beside its input."""
        draws = {}
        leaf = first_leaf(inputs)
        # draws have the parameters' type and device; what is like the inputs is only drawn by remedies that need real ones
        like = (
            inputs if inputs is leaf and leaf.is_floating_point() else leaf.new_empty((len(leaf), 0), dtype=self.dtype)
        )
        for remedy in self.drawing:
            stream = generator(self.trial.draws, seed, remedy.name, step, device=self.train.device)
            drawn = remedy.draws(stream, len(leaf), self.num_parameters, like)
            if drawn is not None:
                draws[remedy.name] = drawn
        if not self.keys:
            return draws, {}
        stream = generator(self.trial.draws, seed, "dropout", step, device=leaf.device)
        return draws, {DROPOUT_KEY: torch.randint(1 << 62, (len(leaf),), generator=stream, device=leaf.device)}

    def _order(self, seed: int, step: int) -> Tensor:
        """Return the rows of a step: a section of the stream of concatenated permutations of the train set."""
        return self.order(seed, *self.plan.boundaries[step : step + 2])

    def order(self, seed: int, start: int, stop: int) -> Tensor:
        """Return the rows of a member's examples number start up to stop of its training."""
        n = self.plan.num_train
        epochs = range(start // n, (stop - 1) // n + 1)
        orders = self._orders.get(seed, {})
        if any(epoch not in orders for epoch in epochs):
            orders = self._orders[seed] = {
                epoch: orders[epoch] if epoch in orders else self._permutation(seed, epoch) for epoch in epochs
            }
        pieces = [orders[epoch][max(start - epoch * n, 0) : stop - epoch * n] for epoch in epochs]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _permutation(self, seed: int, epoch: int) -> Tensor:
        stream = generator(self.trial.draws, seed, "order", epoch)
        order = torch.randperm(self.plan.num_train, generator=stream).to(self.train.inputs_device)
        return self.train.rows_at(order)

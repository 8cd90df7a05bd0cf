"""The batches of a training: which examples a step sees, and the random draws it needs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tune_lb.data.device import Examples
from tune_lb.gradient import DROPOUT_KEY, Batch
from tune_lb.plan import Plan
from tune_lb.streams import generator
from tune_lb.trial import Trial


class BatchStream:
    """Gives any member's batch of any step; a pure function of (seed, step), whatever was asked for before.

    num_parameters: length of the noise that remedies may draw. values: see Batch. dropout: give every example a key, from
    which the masks of keyed dropout are made.
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
        dropout: bool = False,
    ) -> None:
        self.trial, self.plan, self.train, self.values, self.dtype = trial, plan, train, values, dtype
        self.num_parameters, self.remedies, self.dropout = num_parameters, trial.active, dropout
        self._orders: dict[int, dict[int, Tensor]] = {}

    def batch(self, seed: int, step: int) -> Batch:
        """Return the batch of a member's step."""
        index = self._order(seed, self.plan.boundaries[step], self.plan.boundaries[step + 1])
        inputs = self.train.standardized(index).to(self.dtype)
        draws = {}
        for remedy in self.remedies:
            stream = generator(self.trial.draws, seed, remedy.module_name(), step, device=self.train.device)
            drawn = remedy.draws(stream, len(index), self.num_parameters, inputs)
            if drawn is not None:
                draws[remedy.module_name()] = drawn
        examples = {}
        if self.dropout:
            stream = generator(self.trial.draws, seed, "dropout", step, device=inputs.device)
            examples[DROPOUT_KEY] = torch.randint(1 << 62, (len(index),), generator=stream, device=inputs.device)
        targets = self.train.targets[index]
        return Batch(inputs, targets, torch.tensor(step, device=inputs.device), draws, self.values, examples)

    def _order(self, seed: int, start: int, stop: int) -> Tensor:
        """Return the examples start .. stop of the stream of concatenated permutations of the train set."""
        n = self.plan.num_train
        epochs = range(start // n, (stop - 1) // n + 1)
        orders = {epoch: order for epoch, order in self._orders.get(seed, {}).items() if epoch in epochs}
        for epoch in epochs:
            if epoch not in orders:
                stream = generator(self.trial.draws, seed, "order", epoch)
                orders[epoch] = torch.randperm(n, generator=stream).to(self.train.inputs.device)
        self._orders[seed] = orders
        pieces = [orders[epoch][max(start - epoch * n, 0) : stop - epoch * n] for epoch in epochs]
        return torch.cat(pieces)

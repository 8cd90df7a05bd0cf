"""A training of a split second, and what can be seen of it: what the laws of remedies are tried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tune_lb.budgets import Epochs
from tune_lb.data.dataset import DataSet, DataSource, Part
from tune_lb.data.device import on_device
from tune_lb.losses import cross_entropy
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD
from tune_lb.schedules import Cosine
from tune_lb.settings.setting import setting
from tune_lb.training.remedy import Remedy
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial

Trajectory = dict[int, Tensor]
"""By seed what one can see of a member after every single update, (updates, n): weights, buffers, losses."""


@dataclass(frozen=True)
class Clusters(DataSource):
    """Points of three classes around three centres: separable, if not quite."""

    num_train: int = setting(24, "examples of each part", low=1)
    num_features: int = setting(5, "features", low=1)

    def load(self, split_seed: int) -> DataSet:
        """Return three parts of equal size."""
        rng = np.random.default_rng([7, split_seed])
        centres = rng.normal(size=(3, self.num_features))

        def part() -> Part:
            targets = np.arange(self.num_train, dtype=np.int64) % 3
            noise = rng.normal(size=(self.num_train, self.num_features))
            return Part((centres[targets] + noise).astype(np.float32), targets)

        return DataSet("clusters", 3, part(), part(), part(), offset=0.1, scale=1.5)


def small_trial(*remedies: Remedy, **settings: Any) -> Trial:
    """Return a trial of six updates of eight examples on a small network with batch norm. settings: fields of Trial."""
    chosen: dict[str, Any] = {
        "arm": "arm",
        "data": Clusters(),
        "model": MLP(hidden=(6,)),
        "optimizer": SGD(momentum=0.9, weight_decay=1e-3),
        "schedule": Cosine(),
        "budget": Epochs(2.0),
        "loss": cross_entropy,
        "batch_size": 8,
        "lr": 0.1,
    }
    return Trial(**(chosen | settings), remedies=remedies)


def training_of(
    trial: Trial, seeds: Sequence[int] = (0,), execution: str = "alone", dtype: torch.dtype = torch.float64
) -> Training:
    """Return a training of members of the trial on the CPU, about to make its first step."""
    parts = on_device(trial.data.load(trial.split_seed), "cpu")
    return Training(trial, seeds, parts, execution=execution, dtype=dtype)


def trajectory(
    trial: Trial, seeds: Sequence[int] = (0,), execution: str = "alone", dtype: torch.dtype = torch.float64
) -> Trajectory:
    """Train to the end, update by update, and return what was to be seen."""
    running = training_of(trial, seeds, execution, dtype)
    seen: dict[int, list[Tensor]] = {seed: [] for seed in seeds}
    while not running.done:
        rows = running.advance(1e-9)
        for member in running.trained():
            losses = [row.value for row in rows if row.seed == member.seed]
            seen[member.seed].append(torch.cat([flat(member.params), flat(member.buffers), torch.tensor(losses)]))
    return {seed: torch.stack(values) for seed, values in seen.items()}


def flat(tree: dict[str, Tensor]) -> Tensor:
    """Return the tensors of a tree as one float64 vector."""
    return torch.cat([value.detach().double().flatten() for value in tree.values()])


def same_bits(a: Trajectory, b: Trajectory) -> bool:
    """Say whether two trajectories are the same to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[seed], b[seed]) for seed in a)


def same_up_to_rounding(a: Trajectory, b: Trajectory) -> bool:
    """Say whether two trajectories are the same but for the order of sums, in float64."""
    return a.keys() == b.keys() and all(
        a[seed].shape == b[seed].shape and torch.allclose(a[seed], b[seed], rtol=1e-9, atol=1e-12) for seed in a
    )

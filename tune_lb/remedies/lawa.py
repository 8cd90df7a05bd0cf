"""Latest weight averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.remedies.swa import marks
from tune_lb.schedules import Position
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Params
from tune_lb.training.remedy import Remedy, State, TrialFacts


@dataclass(frozen=True)
class LAWA(Remedy):
    """Evaluate the mean of the latest k snapshots of the weights, taken every so many epochs.

    avg = (w_1 + ... + w_k) / k,  w_i the weights after the first update that has seen (n + 1 - i) every N examples, n snapshots so
    far; of fewer than k the mean of those there are. Before the first one the weights themselves are evaluated.

    Source: Kaddour, 2022 (snapshots at the ends of epochs).
    The training itself is untouched. Batch-norm statistics are recomputed for the average; the columns train_error@last, ... are
    those of the last weights, @lawa_<k> those of each further k in `others`, all from the same snapshots.
    Neutral: num_snapshots = 1 and no others.
    Cost: k copies of the weights in memory and in checkpoints, a pass over them per snapshot; evaluation once per further k.
    """

    name: ClassVar[str] = "lawa"

    num_snapshots: int = setting(
        1, "snapshots that are averaged; 1 is no average", low=1, suggested=over(2, 20, log=True, integer=True)
    )
    every: float = setting(1.0, "distance between snapshots, in epochs", above=0.0, suggested=over(0.1, 2.0, log=True))
    others: tuple[int, ...] = setting((), "further numbers of snapshots, measured in the same run")

    def problems(self, where: str = "") -> list[str]:
        """Also refuse further numbers that are none."""
        found = super().problems(where)
        wrong = [value for value in self.others if type(value) is not int or value < 1]
        return found + [
            f"{where or 'LAWA'}.others = {self.others}: {value!r} is no number of snapshots" for value in wrong
        ]

    def is_neutral(self) -> bool:
        """A single snapshot is no average."""
        return self.num_snapshots == 1 and not self.others

    def length_problems(self, trial: TrialFacts, num_train: int) -> list[str]:
        """Refuse more snapshots than the training has."""
        plan = trial.plan(num_train)
        taken = sum(self.due(plan.position(step)) for step in range(plan.num_updates))
        largest = max(self.num_snapshots, *self.others, 1)
        if largest <= taken:
            return []
        name = "num_snapshots" if largest == self.num_snapshots else "others"
        return [f"lawa.{name} = {largest}: at lawa.every = {self.every:g} the training has {taken} snapshots"]

    def due(self, position: Position) -> bool:
        """Say whether a snapshot falls to this step."""
        distance = self.every * position.epoch_examples
        return marks(position.examples_after, 0.0, distance) > marks(position.examples, 0.0, distance)

    def initial_state(self, params: Params) -> State:
        """Return room for the snapshots, (k, ...) for each weight, the latest last."""
        depth = max(self.num_snapshots, *self.others, 1)
        rings = {f"latest.{name}": value.new_zeros((depth, *value.shape)) for name, value in params.items()}
        return rings | {"taken": next(iter(params.values())).new_zeros(())}

    def after_step(self, state: State, params: Params, batch: Batch) -> State:
        """Return the snapshots with these weights in place of the oldest."""
        rings = {
            f"latest.{name}": torch.cat([state[f"latest.{name}"][1:], value[None]]) for name, value in params.items()
        }
        return rings | {"taken": state["taken"] + 1.0}

    def evaluated(self, params: Params, state: State) -> Params:
        """Return the mean of the latest snapshots."""
        return params if self.num_snapshots == 1 else _mean(state, self.num_snapshots, params)

    def alternatives(self, params: Params, state: State) -> dict[str, Params]:
        """Return the last weights and the means of other numbers of snapshots."""
        means = [_mean(state, number, params) for number in self.others]
        return dict(zip(self.alternative_names(), [params, *means], strict=True))

    def alternative_names(self) -> tuple[str, ...]:
        """Return last, lawa_<number>, ..."""
        return ("last", *(f"lawa_{number}" for number in self.others))


def _mean(state: State, number: int, params: Params) -> Params:
    there = state["taken"].clamp(max=number)

    def mean(name: str, value: Tensor) -> Tensor:
        ring = state[f"latest.{name}"]
        age = torch.arange(len(ring) - 1, -1, -1, device=ring.device)
        used = (age < there).to(ring.dtype).view(-1, *[1] * value.dim())
        return torch.where(there > 0, (used * ring).sum(0) / there.clamp(min=1.0), value)

    return {name: mean(name, value) for name, value in params.items()}

"""Stochastic weight averaging."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from tune_lb.schedules import Position
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Params
from tune_lb.training.remedy import Remedy, State, TrialFacts


@dataclass(frozen=True)
class SWA(Remedy):
    """Evaluate the mean of snapshots of the weights taken at equal distances over the last part of the training.

    avg <- (n avg + w) / (n + 1) after the first update that has seen start T + i every N examples, i = 0, 1, ...,  T those of the
    whole training, N of an epoch, n the snapshots so far. Until the first one the weights themselves are evaluated.

    Source: Izmailov et al., 2018, algorithm 1. Departures: the schedule is the trial's own. The original keeps a constant or
    cyclical rate while it averages; under one that falls to 0 the snapshots are nearly the same and averaging does little.
    The training itself is untouched. Batch-norm statistics are recomputed for the average, as the original asks; the columns
    train_error@last, ... are those of the last weights.
    Neutral: start = None.
    Cost: one pass over the weights per snapshot; evaluation once more for the last weights.
    """

    name: ClassVar[str] = "swa"

    start: float | None = setting(
        None,
        "share of the training before the first snapshot; none: no average",
        low=0.0,
        below=1.0,
        suggested=over(0.5, 0.95),
    )
    every: float = setting(1.0, "distance between snapshots, in epochs", above=0.0, suggested=over(0.25, 2.0))

    def is_neutral(self) -> bool:
        """Without a start nothing is averaged."""
        return self.start is None

    def length_problems(self, trial: TrialFacts, num_train: int) -> list[str]:
        """Refuse a distance that leaves a single snapshot: that is no average."""
        plan = trial.plan(num_train)
        num_snapshots = sum(self.due(plan.position(step)) for step in range(plan.num_updates))
        if self.start is None or num_snapshots > 1:
            return []
        share = f"{(1 - self.start) * plan.num_epochs:g} epochs from swa.start = {self.start:g} on"
        return [f"swa.every = {self.every:g} leaves {num_snapshots} snapshot in the {share}: take a smaller distance"]

    def due(self, position: Position) -> bool:
        """Say whether a snapshot falls to this step."""
        if self.start is None:
            return False
        start, distance = self.start * position.total_examples, self.every * position.epoch_examples
        return marks(position.examples_after, start, distance) > marks(position.examples, start, distance)

    def initial_state(self, params: Params) -> State:
        """Return the mean of no snapshots."""
        means = {f"mean.{name}": torch.zeros_like(value) for name, value in params.items()}
        return means | {"num_snapshots": next(iter(params.values())).new_zeros(())}

    def after_step(self, state: State, params: Params, batch: Batch) -> State:
        """Return the mean with one snapshot more."""
        number = state["num_snapshots"] + 1.0
        means = {
            f"mean.{name}": torch.lerp(state[f"mean.{name}"], value, 1.0 / number) for name, value in params.items()
        }
        return means | {"num_snapshots": number}

    def evaluated(self, params: Params, state: State) -> Params:
        """Return the mean, once there is a snapshot."""
        there = state["num_snapshots"] > 0
        return {name: torch.where(there, state[f"mean.{name}"], value) for name, value in params.items()}

    def alternatives(self, params: Params, state: State) -> dict[str, Params]:
        """Return the last weights."""
        return {"last": params}

    def alternative_names(self) -> tuple[str, ...]:
        """Return last."""
        return ("last",)


def marks(examples: int, start: float, distance: float) -> int:
    """Return how many of the points start, start + distance, ... (from the first above 0 on) the examples have reached."""
    # 0.1 N is not always a whole number to the last digit
    return max(0, math.floor((examples - start) / distance + 1e-9) + (start > 0))

"""Training in phases: one training after the other, each from the last weights of the one before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tune_lb.data.device import Parts
from tune_lb.training.gradient import Buffers, GradientFn, Params
from tune_lb.training.members import HistoryRow, Members, TrainedMember
from tune_lb.training.microbatch_size import chosen_size
from tune_lb.training.running import Running
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.training.ways import AUTO


class PhasedTraining:
    """The training of a trial that has phases, as one that is running (`Running`); see Phase for what goes from one to the next.

    Steps, epochs, updates and gradient evaluations count on over the phases; a member that diverged stays so.
    """

    def __init__(
        self,
        trial: Trial,
        seeds: Sequence[int],
        parts: Parts,
        *,
        execution: str = "alone",
        dtype: torch.dtype = torch.float32,
        microbatch: int | str | None = AUTO,
    ) -> None:
        self.asked_microbatch = microbatch
        self.trial, self.seeds, self.execution, self.dtype = trial, tuple(seeds), execution, dtype
        self.phases = trial.in_phases()
        num_train = len(parts.train)
        self.plan = trial.plan(num_train)
        lengths = [phase.plan(num_train).num_updates for phase in self.phases]
        self.first_steps = [sum(lengths[:i]) for i in range(len(lengths))]
        self.diverged_at: dict[int, int] = {}
        self._begin(0, parts)

    @property
    def parts(self) -> Parts:
        """Return the data on the device."""
        return self.now.parts

    @property
    def microbatch(self) -> int | None:
        """Return the examples that go through the network at a time in this phase; None: the whole batch."""
        return self.now.microbatch

    @property
    def device(self) -> torch.device:
        """Return where it trains."""
        return self.now.device

    @property
    def evaluation_module(self) -> nn.Module:
        """Return the network of this phase, in evaluation mode."""
        return self.now.evaluation_module

    @property
    def groups(self) -> list[Members]:
        """Return the members of this phase."""
        return self.now.groups

    @property
    def step(self) -> int:
        """Return the updates done."""
        return self.first_steps[self.number] + self.now.step

    @property
    def epoch(self) -> float:
        """Return the passes over the train set done."""
        return self.plan.boundaries[self.step] / self.plan.num_train

    @property
    def done(self) -> bool:
        """Say whether the last phase is, or no member is left to go on."""
        return self.now.done and (self.number == len(self.phases) - 1 or all(group.ended for group in self.now.groups))

    def advance(self, epochs: float = 1.0) -> list[HistoryRow]:
        """Train every member on as Training.advance does, at most to the end of the phase."""
        self._enter()
        before = self.first_steps[self.number]
        rows = [
            row._replace(step=row.step + before, epoch=self.plan.boundaries[row.step + before] / self.plan.num_train)
            for row in self.now.advance(epochs)
            if row.seed not in self.diverged_at
        ]
        for group in self.now.groups:
            for seed, step in group.diverged_at.items():
                self.diverged_at.setdefault(seed, step + before)
        return rows

    def next_stop(self, epochs: float = 1.0) -> int:
        """Return the step at which advance(epochs) stops."""
        self._enter()
        return self.first_steps[self.number] + self.now.next_stop(epochs)

    def gradients(self, of: Callable[[Training], GradientFn] | None = None) -> dict[int, Params]:
        """Return by seed the gradient that each next update is given; see Training."""
        self._enter()
        return self.now.gradients(of)

    def initial(self, seed: int) -> Params:
        """Return the trainable parameters that a member began the first phase with."""
        return Training(self.phases[0], [seed], self.parts, dtype=self.dtype).initial(seed)

    def iterates(self) -> dict[int, tuple[Params, Buffers]]:
        """Return by seed the parameters and buffers as they are; see Training."""
        return self.now.iterates()

    def trained(self) -> Iterator[TrainedMember]:
        """Yield every member with the parameters to be evaluated."""
        for member in self.now.trained():
            yield dataclasses.replace(member, diverged_at_step=self.diverged_at.get(member.seed))

    def evaluate(self) -> list[HistoryRow]:
        """Return clean train and validation loss and error of every member that has not diverged, now."""
        rows = self.now.evaluate()
        return [row._replace(step=self.step, epoch=self.epoch) for row in rows if row.seed not in self.diverged_at]

    def checkpoint(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on, as named tensors; call it between two calls of advance."""
        diverged = [self.diverged_at.get(seed, -1) for seed in self.seeds]
        own = {"phase": torch.tensor(self.number), "phases_diverged_at": torch.tensor(diverged)}
        return own | self.now.checkpoint()

    def restore(self, checkpoint: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint of a training of the same trial, seeds and execution."""
        ends = checkpoint["phases_diverged_at"].tolist()
        self.diverged_at = {seed: end for seed, end in zip(self.seeds, ends, strict=True) if end >= 0}
        self._begin(int(checkpoint["phase"]), self.parts)
        self.now.restore({k: v for k, v in checkpoint.items() if k not in ("phase", "phases_diverged_at")})

    def _enter(self) -> None:
        """Go on to the next phase, where this one is done and members are left."""
        if self.now.done and not self.done:
            self._begin(self.number + 1, self.parts, starts=self.iterates())

    def _begin(self, number: int, parts: Parts, **options: Any) -> None:
        self.number = number
        way: dict[str, Any] = {"execution": self.execution, "dtype": self.dtype}
        size = chosen_size(self.phases[number], self.seeds, parts, self.asked_microbatch, **way)
        self.now = Training(self.phases[number], self.seeds, parts, microbatch=size, **way, **options)


def begun(
    trial: Trial,
    seeds: Sequence[int],
    parts: Parts,
    *,
    execution: str = "alone",
    dtype: torch.dtype = torch.float32,
    microbatch: int | str | None = AUTO,
) -> Running:
    """Return a training of the trial's members, about to make its first step. microbatch: see microbatch_size.chosen_size."""
    if len(trial.in_phases()) > 1:
        return PhasedTraining(trial, seeds, parts, execution=execution, dtype=dtype, microbatch=microbatch)
    size = chosen_size(trial, seeds, parts, microbatch, execution=execution, dtype=dtype)
    return Training(trial, seeds, parts, execution=execution, dtype=dtype, microbatch=size)

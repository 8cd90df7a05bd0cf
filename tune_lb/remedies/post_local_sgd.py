"""Post-local SGD: in the last part of the training the pieces of the batch train replicas that are averaged now and then."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_lb.schedules import Position
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params, average
from tune_lb.training.pieces import piece_problems
from tune_lb.training.remedy import Nesting, Remedy, StepFn, TrialFacts, overrides

NAME = "post_local_sgd"
REPLICAS = 1
"""Where the dimension of the replicas stands: after that of the members."""

ROUNDING = 1e-3
"""Of an update: 0.3 of 50 is no whole number in float32, and is one for the schedule."""


@dataclass(frozen=True)
class PostLocalSGD(Remedy):
    """Let K = B / b replicas train on b examples each, and average their weights every few updates.

    Until the share `start` of the training: w <- w - rate u(mean_k g_k), large-batch training. From then on, for k = 1 .. K:
    w_k <- w_k - rate u_k(g_k),  and after every `local_steps` updates w_k <- mean_j w_j;  g_k the mean gradient of piece k of
    the batch at w_k, u_k the optimiser's direction with a state (momentum, moments) of each replica's own, never averaged.

    Source: Lin, Stich, Patel and Jaggi, 2020 (arXiv 1808.07217), post-local SGD with local momentum. Departures: the turn
    stands at a share of the training in place of the first fall of the rate. What is evaluated, measured and given to a next
    phase is the mean of the replicas, at every moment; the K pieces of a batch are strided, batch-norm statistics kept are
    their mean.
    The training is that of the phase, where there are phases; a budget that watches the loss may end before the turn.
    Neutral: local_batch_size = None. Cost: one gradient in K pieces; K times the memory of weights, gradient and optimiser.
    Traps: with plain batch norm the network sees pieces of b examples in both parts, as K machines would (ghost batch norm's
    gain comes along: compare with it); with local_steps = 1 and SGD it is large-batch training with such statistics.
    """

    name: ClassVar[str] = NAME

    always_in_pieces: ClassVar[bool] = True

    local_batch_size: int | None = setting(
        None, "examples b of a replica; none: no replicas", low=1, suggested=over([32, 64, 128])
    )
    local_steps: int = setting(4, "updates between two averages", low=1, suggested=over([2, 4, 8, 16]))
    start: float = setting(
        0.5, "share of the training before replicas part", low=0.0, below=1.0, suggested=over(0.0, 0.9)
    )

    def is_neutral(self) -> bool:
        """Without a local batch there is one replica."""
        return self.local_batch_size is None

    def piece_sizes(self) -> dict[str, int]:
        """The batches of the replicas."""
        return {} if self.local_batch_size is None else {f"{NAME}.local_batch_size": self.local_batch_size}

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a batch of one piece, batches that change, and what acts on the mean gradient or on whole layers."""
        b = self.local_batch_size
        if b is None:
            return []
        name = f"{NAME}.local_batch_size = {b}"
        found = []
        if not trial.optimizer.element_wise:
            found.append(
                f"{name}: {type(trial.optimizer).__name__} looks at whole tensors, in which the replicas stand side by "
                "side; take an element-wise optimiser (SGD, Adam, AdamW, AdaGrad, RMSprop)"
            )
        for other in trial.active:
            if other.name == NAME:
                continue
            if overrides(other, "step") or overrides(other, "update"):
                found.append(f"{NAME} and {other.name} both change the update; give one of them")
            elif overrides(other, "gradient") and (
                other.nesting is Nesting.RESULT or overrides(other, "initial_state")
            ):
                found.append(
                    f"{NAME} and {other.name} are not defined together: every replica has a gradient of its own; "
                    "give one of them"
                )
            elif overrides(other, "replicated"):
                found.append(f"{NAME} and {other.name} both train replicas; give one of them")
            elif overrides(other, "batch_size"):
                found.append(f"{NAME} and {other.name}: the number of replicas is fixed, the batch is not; give one")
        if trial.batch_size < 2 * b:
            return [*found, f"{name}: batch_size = {trial.batch_size} is less than twice as large, one replica"]
        return found + piece_problems(f"{NAME}.local_batch_size", b, trial, module)

    def length_problems(self, trial: TrialFacts, num_train: int) -> list[str]:
        """Refuse a start after which no local step comes."""
        num_updates = trial.plan(num_train).num_updates
        if self.local_batch_size is None or self._first_local(num_updates) < num_updates:
            return []
        return [f"{NAME}.start = {self.start:g} leaves no local step in {num_updates} updates; take a smaller share"]

    def replicated(self, params: Params, batch_size: int) -> Params:
        """Return the weights K times, (K, ...)."""
        num = batch_size // (self.local_batch_size or batch_size)
        return {name: value.expand(num, *value.shape).clone() for name, value in params.items()}

    def merged(self, params: Params) -> Params:
        """Return the mean of the replicas."""
        return {name: value.mean(0) for name, value in params.items()}

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return every replica's gradient on its own piece; before the turn the mean of them for each."""

        def of_replicas(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            num = len(next(iter(params.values())))
            replicas = [{name: value[k] for name, value in params.items()} for k in range(num)]
            parts = [inner(replica, buffers, batch.piece(k, num)) for k, replica in enumerate(replicas)]
            losses, gradients, updated = zip(*parts, strict=True)
            turn = batch.values[f"{NAME}.start"] * batch.values["plan.num_updates"]
            parted = batch.step + ROUNDING >= turn
            means = average(list(gradients))
            each = {
                name: torch.where(parted, torch.stack([own[name] for own in gradients]), means[name]) for name in params
            }
            return torch.stack(losses).mean(), each, average(list(updated))

        return of_replicas

    def due(self, position: Position) -> bool:
        """Say whether the replicas are averaged after this step."""
        local = position.step - self._first_local(position.total_examples / position.batch_size)
        return local >= 0 and (local + 1) % self.local_steps == 0

    def _first_local(self, num_updates: float) -> int:
        return math.ceil(self.start * num_updates - ROUNDING)

    def step(self, inner: StepFn) -> StepFn:
        """Return the update of every replica, and their average where it is due."""

        def parted(params: Params, buffers: Buffers, batch: Batch, rate: float) -> tuple[Tensor, Buffers]:
            loss, updated = inner(params, buffers, batch, rate)
            if batch.due[NAME]:
                for value in params.values():
                    value.copy_(value.mean(REPLICAS, keepdim=True).expand_as(value))
            return loss, updated

        return parted

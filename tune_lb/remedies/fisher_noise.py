"""Gradient noise with a variance for each weight, as a small batch has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_lb.schedules import Position
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params
from tune_lb.training.pieces import gradient_variances, normal_per_parameter, piece_problems, white_noise
from tune_lb.training.remedy import Remedy, State, TrialFacts

PREFIX = "fisher_noise/"


@dataclass(frozen=True)
class FisherNoise(Remedy):
    """Add noise whose covariance is the diagonal of that of a small batch's gradient: what the large one lacks of it.

    g_j + sqrt(scale V_j (1 - b/B)) n_j,  n ~ N(0, I),  V_j a running mean of Var(g_j of b examples) over the B/b pieces of a
    batch, measured every so many updates:  V <- decay V + (1 - decay) v, the first v taken whole.
    scale = 1 gives every entry of the gradient the variance that a batch of b has; directions across entries are lost.

    Source: Wen et al., 2020, An empirical study of stochastic gradient descent with structured covariance noise
    (diagonal Fisher). Departures: the variance, not the second moment, which counts the mean gradient as noise; taken over
    pieces of b examples, since with batch normalization one example has no gradient of its own; a running mean.
    Neutral: scale = 0, whatever the other fields.
    Cost: one normal number per parameter and step, one more gradient every so many updates, one more copy of the weights.
    Traps: of B/b pieces a variance has a relative error of sqrt(2 / (B/b - 1)); plain batch norm sees pieces of b examples while
    it is measured, and the batch in the step.
    """

    name: ClassVar[str] = "fisher_noise"
    adds_noise: ClassVar[bool] = True
    excludes: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("initial_variance_noise", "layer_noise"), "both add the noise that the batch lacks"
    )

    scale: float = setting(
        0.0,
        "factor on the variance of the noise; 1 is that of the small batch, 0 is none",
        low=0.0,
        suggested=over(0.01, 3.0, log=True),
    )
    small_batch_size: int = setting(
        2, "examples b whose gradient variance is imitated", low=1, suggested=over([16, 32, 64])
    )
    every: int = setting(20, "updates between two measurements", low=1)
    decay: float = setting(0.5, "share of the running mean kept at a measurement; 0 keeps none", low=0.0, below=1.0)

    def is_neutral(self) -> bool:
        """Without variance there is no noise, whatever else is set."""
        return self.scale == 0

    def gradient_evaluations(self) -> float:
        """One per update, and one more per measurement."""
        return 1.0 + 1.0 / self.every

    def piece_sizes(self) -> dict[str, int]:
        """The pieces on which variances are measured."""
        return {"fisher_noise.small_batch_size": self.small_batch_size}

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a small batch that does not fit into the batch."""
        name, b = "fisher_noise.small_batch_size", self.small_batch_size
        if trial.batch_size < 2 * b:
            return [f"{name} = {b}: batch_size = {trial.batch_size} is less than twice as large, no variance to add"]
        return piece_problems(name, b, trial, module)

    def due(self, position: Position) -> bool:
        """Variances are measured in the first of every so many steps."""
        return position.step % self.every == 0

    def initial_state(self, params: Params) -> State:
        """The variance of every entry of the gradient, in the shapes of the parameters."""
        return {name: torch.zeros_like(value) for name, value in params.items()}

    draws = normal_per_parameter

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the gradient plus the noise of its entries."""

        def noisy(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            size, b = batch.size, self.small_batch_size
            variances = {name: buffers[PREFIX + name] for name in params}
            if batch.due["fisher_noise"]:
                kept = torch.where(batch.step == 0, 0.0, batch.values["fisher_noise.decay"])
                found = gradient_variances(inner, params, buffers, batch, b)
                variances = {name: kept * v + (1.0 - kept) * found[name] for name, v in variances.items()}
            factor = batch.values["fisher_noise.scale"] * (1.0 - b / size)
            noise = white_noise(batch.draws["fisher_noise"], gradients)
            changed = {name: g + (factor * variances[name]).sqrt() * noise[name] for name, g in gradients.items()}
            return loss, changed, updated | {PREFIX + name: value for name, value in variances.items()}

        return noisy

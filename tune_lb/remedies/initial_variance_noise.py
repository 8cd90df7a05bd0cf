"""Isotropic gradient noise whose variance is measured once, at initialization."""

from __future__ import annotations

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

VARIANCE = "initial_variance_noise/variance"


@dataclass(frozen=True)
class InitialVarianceNoise(Remedy):
    """Add white noise of constant variance, a share of the largest gradient variance of the untrained network.

    g_t + sigma n,  n ~ N(0, I),  sigma^2 = factor max_j v_j,  v_j = b Var(g_j of b examples) over the B/b pieces of the first
    batch: an estimate of the variance of one example's gradient.

    Source: Xing, Arpit, Tsirigotis and Bengio, 2018, A Walk with SGD, section 4 and figure 5 (their two factors are not
    legible). Departures: with batch normalization one example has no gradient of its own, hence pieces; theirs
    was gradient descent on all data, here any batch. The largest of n estimates from few pieces is biased upwards.
    Neutral: factor = 0, whatever the pieces.
    Cost: one normal number per parameter and step; one more gradient in the first step, which the count leaves out.
    Trap: |noise| is about sigma sqrt(n); the paper found it bad for both training and validation, at both factors.
    """

    name: ClassVar[str] = "initial_variance_noise"
    adds_noise: ClassVar[bool] = True

    factor: float = setting(
        0.0,
        "variance of the noise over the largest gradient variance at the start; 0 is none",
        low=0.0,
        suggested=over(1e-6, 1e-1, log=True),
    )
    piece_size: int = setting(2, "examples in a piece of the first batch; 1 needs a network without batch norm", low=1)

    def is_neutral(self) -> bool:
        """Without variance there is no noise, whatever the pieces."""
        return self.factor == 0

    def piece_sizes(self) -> dict[str, int]:
        """The pieces of the first batch."""
        return {"initial_variance_noise.piece_size": self.piece_size}

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse pieces that do not divide the batch, and a batch of one piece, which has no variance."""
        name, size = "initial_variance_noise.piece_size", self.piece_size
        if trial.batch_size < 2 * size:
            return [
                f"{name} = {size}: batch_size = {trial.batch_size} holds fewer than two pieces, so there is no variance"
            ]
        return piece_problems(name, size, trial, module)

    def due(self, position: Position) -> bool:
        """The variance is measured in the first step."""
        return position.step == 0

    def initial_state(self, params: Params) -> State:
        """The largest variance of one example's gradient, ()."""
        return {"variance": next(iter(params.values())).new_zeros(())}

    draws = normal_per_parameter

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the gradient plus sigma times the step's normal draw."""

        def noisy(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            variance = buffers[VARIANCE]
            if batch.due["initial_variance_noise"]:
                variances = gradient_variances(inner, params, buffers, batch, self.piece_size)
                variance = self.piece_size * torch.stack([value.max() for value in variances.values()]).max()
            sigma = torch.sqrt(batch.values["initial_variance_noise.factor"] * variance)
            noise = white_noise(batch.draws["initial_variance_noise"], gradients)
            return loss, {k: g + sigma * noise[k] for k, g in gradients.items()}, updated | {VARIANCE: variance}

        return noisy

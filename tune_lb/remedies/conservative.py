"""Conservative training: every batch is a small problem of its own, kept near its start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params
from tune_lb.training.remedy import Remedy, StepFn


@dataclass(frozen=True)
class Conservative(Remedy):
    """Take several steps on each batch, pulled back to where the batch found the weights.

    w_{k+1} ~ argmin_w f_k(w) + (lam / 2) |w - w_k|^2,  f_k the mean loss of batch k: `iterations` steps of the optimiser from w_k
    with the gradient grad f_k(w) + lam (w - w_k).

    Source: Li et al., 2014, eq. 4; for large batches Keskar et al., 2017, appendix E.2 (eq. 5, three Adam steps, lam = 1e-3).
    Every step has the rate of the schedule; the optimiser's state (momentum, Adam's moments) goes on from step to step and from
    batch to batch, on which the source is silent. Augmentation, noise and other draws are those of the batch in all its steps; the
    pull enters after them and after SAM. Batch-norm statistics and the loss reported come from the first step only.
    Neutral: iterations = 1, where the pull is 0.
    Cost: as many gradients per batch as iterations.
    Trap: with lam much below 1 / rate the pull does next to nothing, and the effect is that of more steps per example:
    compare with training as many times longer.
    """

    name: ClassVar[str] = "conservative"

    iterations: int = setting(1, "optimiser steps on each batch; 1 is none more", low=1, suggested=over([2, 3, 5]))
    lam: float = setting(
        1e-3,
        "weight of half the squared distance to the start of the batch",
        low=0.0,
        suggested=over(1e-3, 10.0, log=True),
    )

    def is_neutral(self) -> bool:
        """A single step starts where the pull is 0."""
        return self.iterations == 1

    def gradient_evaluations(self) -> float:
        """As many mean gradients per batch as iterations."""
        return float(self.iterations)

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the gradient plus lam times the way from the start of the batch, which the step leaves among the draws."""

        def pulled(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            lam, start = batch.values["conservative.lam"], batch.draws
            return loss, {k: g + lam * (params[k] - start[f"{START}{k}"]) for k, g in gradients.items()}, updated

        return pulled

    def step(self, inner: StepFn) -> StepFn:
        """Return the steps on one batch as one."""

        def several(params: Params, buffers: Buffers, batch: Batch, rate: float) -> tuple[Tensor, Buffers]:
            # a copy: the optimiser changes the parameters in place
            start = {f"{START}{name}": value.clone() for name, value in params.items()}
            batch = batch._replace(draws={**batch.draws, **start})
            loss, updated = inner(params, buffers, batch, rate)
            for _ in range(self.iterations - 1):
                inner(params, updated, batch, rate)
            return loss, updated

        return several


START = "conservative.start."

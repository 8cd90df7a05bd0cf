"""Isotropic Gaussian noise on the gradient, its variance falling as a power of the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params
from tune_lb.training.pieces import normal_per_parameter, white_noise
from tune_lb.training.remedy import Remedy


@dataclass(frozen=True)
class GradientNoise(Remedy):
    """Add white noise to the mean gradient, once per optimiser step.

    g_t + sigma_t n,  n ~ N(0, I),  sigma_t^2 = alpha / (1 + t)^gamma,  t = 0, 1, ... the optimiser step.

    Source: Neelakantan et al., 2015, eq. 1; for large batches Jaiswal and Taura, "Overcoming Generalization Gap in Large Mini-Batch
    Training of Deep Neural Networks", section 3.1, alpha = 1e-5, gamma = 0.55.
    The noise enters before weight decay and momentum, after every other change of the gradient, and on all parameters.
    The step is counted in updates, as in the authors' framework, so at equal epochs a larger batch has had fewer decays.
    Neutral: alpha = 0, whatever gamma.
    Cost: one normal number per parameter and step (1.2 to 1.3 times a step of a small batch, nothing next to a large one).
    Trap: |noise| is about sigma_t sqrt(n); with n = 1e6 an alpha of 1e-3 is a vector of length 32, beyond most gradients.
    """

    name: ClassVar[str] = "gradient_noise"

    alpha: float = setting(
        0.0,
        "variance of the noise at step 0 (squared gradient units); 0 is none",
        low=0.0,
        suggested=over(1e-9, 1e-4, log=True),
    )
    gamma: float = setting(
        0.55, "power of the decay; 0 is constant variance", low=0.0, high=10.0, suggested=over(0.0, 1.0)
    )

    def is_neutral(self) -> bool:
        """Without variance there is no noise, whatever the decay."""
        return self.alpha == 0

    draws = normal_per_parameter

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the gradient plus sigma_t times the step's normal draw."""

        def noisy(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            alpha, gamma = batch.values["gradient_noise.alpha"], batch.values["gradient_noise.gamma"]
            sigma = torch.sqrt(alpha / (1.0 + batch.step) ** gamma)
            noise = white_noise(batch.draws["gradient_noise"], gradients)
            return loss, {name: g + sigma * noise[name] for name, g in gradients.items()}, updated

        return noisy

"""Isotropic Gaussian noise on the gradient, its variance falling as a power of the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params
from tune_lb.training.noise_scope import (
    ACTIVATION,
    ALL,
    LAYERS_DESCRIPTION,
    PLACE_DESCRIPTION,
    PLACES,
    WEIGHT,
    chosen_parameters,
    deviations,
    scope_problems,
    with_noise_at_outputs,
)
from tune_lb.training.pieces import normal_per_parameter, white_noise
from tune_lb.training.remedy import Remedy, TrialFacts


@dataclass(frozen=True)
class GradientNoise(Remedy):
    """Add white noise to the mean gradient, once per optimiser step.

    g_t + sigma_t n,  n ~ N(0, I),  sigma_t^2 = alpha / (1 + t)^gamma,  t = 0, 1, ... the optimiser step.

    Source: Neelakantan et al., 2015, eq. 1; for large batches Jaiswal and Taura, "Overcoming Generalization Gap in Large Mini-Batch
    Training of Deep Neural Networks", section 3.1, alpha = 1e-5, gamma = 0.55.
    The noise enters before weight decay and momentum, after every other change of the gradient, on all parameters or on those that
    `layers` names. on="activation": white noise of the same sigma_t is added to the gradient of the batch's mean loss with respect
    to each chosen layer's output, and goes back from there to its weights and to the layers below: "gradients entering each
    convolutional layer" in Hynes, "Towards Mini-Error with Maxi-Batch SGD", section 2.4 (a fixed variance is gamma = 0).
    The step is counted in updates, as in the authors' framework, so at equal epochs a larger batch has had fewer decays.
    Neutral: alpha = 0, whatever gamma.
    Cost: one normal number per parameter and step (1.2 to 1.3 times a step of a small batch, nothing next to a large one); one per
    unit of the chosen layers' outputs on activations.
    Traps: |noise| is about sigma_t sqrt(n); with n = 1e6 an alpha of 1e-3 is a vector of length 32, beyond most gradients.
    Gradients at outputs hold the 1 / B of the mean: a sigma of the same size is far more there.
    """

    name: ClassVar[str] = "gradient_noise"
    adds_noise: ClassVar[bool] = True

    alpha: float = setting(
        0.0,
        "variance of the noise at step 0 (squared gradient units); 0 is none",
        low=0.0,
        suggested=over(1e-9, 1e-4, log=True),
    )
    gamma: float = setting(
        0.55, "power of the decay; 0 is constant variance", low=0.0, high=10.0, suggested=over(0.0, 1.0)
    )

    layers: str = setting(ALL, LAYERS_DESCRIPTION, added_later=True)
    on: str = setting(WEIGHT, PLACE_DESCRIPTION, one_of=PLACES, added_later=True)

    def is_neutral(self) -> bool:
        """Without variance there is no noise, whatever the decay."""
        return self.alpha == 0

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse layers that the model does not have."""
        return scope_problems(self.name, self.layers, self.on, module)

    def network(self, module: nn.Module, input_shape: Sequence[int]) -> nn.Module:
        """Make the chosen layers' outputs places where noise can enter."""
        return with_noise_at_outputs(module, self.layers) if self.on == ACTIVATION else module

    def draws(self, generator: torch.Generator, batch_size: int, num_parameters: int, like: Tensor) -> Tensor | None:
        """Draw one normal number per parameter; noise on activations is made from the examples' keys."""
        return (
            None if self.on == ACTIVATION else normal_per_parameter(self, generator, batch_size, num_parameters, like)
        )

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the gradient plus sigma_t times the step's normal draw, or that of noisy back-propagation."""

        def noisy(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            noise, chosen = (
                white_noise(batch.draws["gradient_noise"], gradients),
                chosen_parameters(gradients, self.layers),
            )
            sigma = deviation(batch)
            return loss, {k: g + sigma * noise[k] if k in chosen else g for k, g in gradients.items()}, updated

        def noisy_inside(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            places = deviations(buffers)
            given = dict.fromkeys(places, deviation(batch) * batch.size)
            loss, gradients, updated = inner(params, buffers | given, batch)
            return loss, gradients, updated | {name: buffers[name] for name in places}

        def deviation(batch: Batch) -> Tensor:
            alpha, gamma = batch.values["gradient_noise.alpha"], batch.values["gradient_noise.gamma"]
            return torch.sqrt(alpha / (1.0 + batch.step) ** gamma)

        return noisy_inside if self.on == ACTIVATION else noisy

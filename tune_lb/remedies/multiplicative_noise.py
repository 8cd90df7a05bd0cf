"""Gradient noise with the covariance of a small batch: random weights of the examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params, TrainingLoss, norm
from tune_lb.training.pieces import white_noise
from tune_lb.training.remedy import BatchFn, Remedy, TrialFacts

NAME = "multiplicative_noise"


@dataclass(frozen=True)
class MultiplicativeNoise(Remedy):
    """Weigh each example's loss by a random number of mean 1, so that the gradient's noise has the shape a small batch gives.

    loss = (1/B) sum_i z_i l_i,  E z = 1,  Var z = s^2 = B/b - 1. The gradient stays unbiased and its covariance grows by
    (s^2/B) E[g g^T], anisotropic and in the span of the examples' gradients: in all that of a batch of b.

    law "normal": z = 1 + s n. law "bernoulli": z is B/b with probability b/B, else 0: a batch of about b examples.
    covariance "isotropic" shows what the shape is worth: the same weights are drawn, and the change d that they
    make to the gradient is replaced by white noise of the same squared length in the mean, g + |d| / sqrt(n) n'. Trace equal,
    directions not.

    Source: Hoffer, Hubara and Soudry, 2017, section 3.1 (multiplicative noise); Wu et al., 2020, On the noisy gradient descent
    that generalizes as SGD, section 3 (M-SGD). Normal weights may be negative. The loss reported is the weighted one
    (isotropic: the plain one). Batch-norm statistics are those of the whole batch, without weights.
    Neutral: small_batch_size = None, whatever law and covariance.
    Cost: none but B random numbers; two gradients per step for the isotropic form.
    """

    name: ClassVar[str] = NAME
    adds_noise: ClassVar[bool] = True

    small_batch_size: int | None = setting(
        None,
        "examples b of the batch whose noise is imitated; none: no noise",
        low=1,
        suggested=over([16, 32, 64, 128]),
    )
    law: str = setting("normal", "distribution of the weights z of the examples", one_of=("normal", "bernoulli"))
    covariance: str = setting(
        "per_example",
        "shape of the noise: that of the examples' gradients, or white of the same mean squared length",
        one_of=("per_example", "isotropic"),
    )

    def is_neutral(self) -> bool:
        """Without a batch to imitate all weights are 1."""
        return self.small_batch_size is None

    def gradient_evaluations(self) -> float:
        """The isotropic form needs the plain gradient too."""
        return 2.0 if self.covariance == "isotropic" else 1.0

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a batch to imitate that is not smaller than the batch."""
        b = self.small_batch_size
        if b is not None and b >= trial.batch_size:
            return [
                f"{NAME}.small_batch_size = {b} is not smaller than batch_size = {trial.batch_size}: no noise to add"
            ]
        return []

    def draws(self, generator: torch.Generator, batch_size: int, num_parameters: int, like: Tensor) -> Tensor:
        """Draw what the weights are made of, (B,), then for the isotropic form one normal number per parameter."""
        draw = torch.randn if self.law == "normal" else torch.rand
        of_examples = draw(batch_size, generator=generator, dtype=like.dtype, device=like.device)
        if self.covariance == "per_example":
            return of_examples
        white = torch.randn(num_parameters, generator=generator, dtype=like.dtype, device=like.device)
        return torch.cat([of_examples, white])

    def batch(self, inner: BatchFn) -> BatchFn:
        """Give every example its weight."""

        def weighted(batch: Batch) -> Batch:
            changed = inner(batch)
            size = batch.size
            drawn, ratio = batch.draws[NAME][:size], size / batch.values[f"{NAME}.small_batch_size"]
            normal = 1.0 + torch.sqrt(ratio - 1.0) * drawn
            weights = normal if self.law == "normal" else torch.where(drawn * ratio < 1.0, ratio, 0.0)
            return changed._replace(examples={**changed.examples, NAME: weights})

        return weighted

    def loss(self, inner: TrainingLoss) -> TrainingLoss:
        """Return the loss of each example times its weight."""

        def weighted(outputs: Tensor, batch: Batch) -> Tensor:
            return batch.examples[NAME] * inner(outputs, batch)

        return weighted

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the weighted gradient, or the plain one with white noise as long as what the weights change."""
        if self.covariance == "per_example":
            return inner

        def isotropic(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            weights = batch.examples[NAME]
            plain = batch._replace(examples={**batch.examples, NAME: torch.ones_like(weights)})
            loss, gradients, updated = inner(params, buffers, plain)
            _, weighted, _ = inner(params, buffers, batch)
            drawn = batch.draws[NAME][len(weights) :]
            length = norm({name: weighted[name] - g for name, g in gradients.items()})
            noise = white_noise(drawn, gradients)
            scale = length / len(drawn) ** 0.5
            return loss, {name: g + scale * noise[name] for name, g in gradients.items()}, updated

        return isotropic

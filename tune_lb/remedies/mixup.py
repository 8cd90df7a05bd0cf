"""Mixup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy.special import betaincinv
from torch import Tensor

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, TrainingLoss
from tune_lb.training.remedy import BatchFn, Remedy


@dataclass(frozen=True)
class Mixup(Remedy):
    """Train on mixtures of two examples of the batch, against the same mixture of their losses.

    x = c x_i + (1 - c) x_p(i),  l = c l(f(x), y_i) + (1 - c) l(f(x), y_p(i)),  c ~ Beta(alpha, alpha),
    p a random permutation of the batch; one c and one p per step.

    Source: Zhang et al., 2018, section 1 and figure 1a; for cross entropy the mixture of losses is the loss of mixed labels.
    After augmentation; the same mixture in every gradient of the step. In training only; running_train_loss is the mixed one.
    Neutral: alpha = 0, the limit in which c is 0 or 1.
    Cost: a second loss of the same outputs; no more gradients.
    Trap: c is drawn once per batch, so its noise in the gradient does not fall with the batch.
    """

    name: ClassVar[str] = "mixup"

    alpha: float = setting(
        0.0,
        "parameter of the Beta distribution; 0 mixes nothing, 1 is uniform",
        low=0.0,
        suggested=over(0.05, 1.0, log=True),
    )

    def computes_with_inputs(self) -> bool:
        """It does."""
        return True

    def draws(self, generator: torch.Generator, batch_size: int, num_parameters: int, like: Tensor) -> Tensor:
        """Draw c, then p as numbers: shape (1 + B,), float64, which holds every whole number below 2^53."""
        device = like.device
        u = torch.rand((), generator=generator, dtype=torch.float64, device=device)
        # inverse distribution function: a draw of the step's own generator, which torch's Beta would not take
        share = torch.tensor(betaincinv(self.alpha, self.alpha, float(u)), dtype=torch.float64, device=device)
        partners = torch.randperm(batch_size, generator=generator, device=device).double()
        return torch.cat([share[None], partners])

    def batch(self, inner: BatchFn) -> BatchFn:
        """Return the batch with mixed inputs; the partners' targets are `batch.examples["mixup"]`."""

        def mixed(batch: Batch) -> Batch:
            batch = inner(batch)
            draws = batch.draws["mixup"]
            share, partners = draws[0].to(batch.inputs.dtype), draws[1:].long()
            inputs = share * batch.inputs + (1.0 - share) * batch.inputs[partners]
            examples = {**batch.examples, "mixup": batch.targets[partners]}
            return batch._replace(inputs=inputs, examples=examples)

        return mixed

    def loss(self, inner: TrainingLoss) -> TrainingLoss:
        """Return the mixture of the losses against both targets."""

        def mixed(outputs: Tensor, batch: Batch) -> Tensor:
            share = batch.draws["mixup"][0].to(outputs.dtype)
            partner = inner(outputs, batch._replace(targets=batch.examples["mixup"]))
            return share * inner(outputs, batch) + (1.0 - share) * partner

        return mixed

"""Stability training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, TrainingLoss
from tune_lb.training.remedy import BatchFn, Remedy


@dataclass(frozen=True)
class Stability(Remedy):
    """Ask for the same output where the input is disturbed a little.

    l = l_0(x, y) - alpha sum_k p_k(x) log p_k(x'),  x' = x + sigma n,  n ~ N(0, I) new in every step, p the softmax of the outputs.

    Source: Zheng et al., 2016, section 3, for classes; for large batches Keskar et al., 2017, appendix E.3.
    l_0, with whatever other remedies make of it, sees x alone; the gradient goes through both outputs. The two passes have batch
    statistics of their own, the running ones come from x. sigma is in network inputs, (stored - offset) / scale.
    Neutral: alpha = 0.
    Cost: two forward and backward passes per step, counted as two gradients.
    Trap: at sigma = 0 the term is alpha times the entropy of the outputs: not nothing, it makes them more certain.
    """

    name: ClassVar[str] = "stability"

    alpha: float = setting(0.0, "weight of the stability term; 0 is none", low=0.0, suggested=over(0.01, 1.0, log=True))
    sigma: float = setting(
        0.1, "deviation of the disturbance, in standardized units", low=0.0, suggested=over(0.03, 1.0, log=True)
    )

    def computes_with_inputs(self) -> bool:
        """It does."""
        return True

    def is_neutral(self) -> bool:
        """Without weight the second output does not matter."""
        return self.alpha == 0

    def gradient_evaluations(self) -> float:
        """Two passes per update."""
        return 2.0

    def draws(self, generator: torch.Generator, batch_size: int, num_parameters: int, like: Tensor) -> Tensor:
        """Draw n, of the inputs' shape."""
        return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)

    def batch(self, inner: BatchFn) -> BatchFn:
        """Return the batch with each input beside its disturbed twin, (B, 2, ...): pieces of the batch keep them together."""

        def paired(batch: Batch) -> Batch:
            batch = inner(batch)
            disturbed = batch.inputs + batch.values["stability.sigma"] * batch.draws["stability"]
            return batch._replace(inputs=torch.stack([batch.inputs, disturbed], 1))

        return paired

    def model(self, module: nn.Module) -> nn.Module:
        """Let the network map pairs of inputs to pairs of outputs, (B, 2, K)."""
        plain = module.forward

        def paired(pairs: Tensor) -> Tensor:
            inputs, disturbed = pairs.unbind(1)
            outputs = plain(inputs)
            return torch.stack([outputs, _beside(module, plain, disturbed)], 1)

        module.forward = paired
        return module

    def loss(self, inner: TrainingLoss) -> TrainingLoss:
        """Return the loss of the first outputs plus the cross entropy of the second against the first."""

        def stable(outputs: Tensor, batch: Batch) -> Tensor:
            first, second = outputs.unbind(1)
            distance = -(first.softmax(-1) * second.log_softmax(-1)).sum(-1)
            return inner(first, batch) + batch.values["stability.alpha"] * distance

        return stable


def _beside(module: nn.Module, forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Return the outputs for further inputs; what the pass writes into buffers is lost (batch-norm statistics)."""
    kept = [(part._buffers, dict(part._buffers)) for part in module.modules() if part._buffers]
    try:
        for buffers, values in kept:
            buffers.update({name: None if value is None else value.clone() for name, value in values.items()})
        return forward(inputs)
    finally:
        for buffers, values in kept:
            buffers.update(values)

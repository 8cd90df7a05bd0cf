"""Sharpness-aware minimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from tune_lb.domain import over
from tune_lb.gradient import Batch, Buffers, GradientFn, Params, average, norm
from tune_lb.remedy import Evaluation, Remedy
from tune_lb.setting import setting

if TYPE_CHECKING:
    from tune_lb.trial import Trial


@dataclass(frozen=True)
class SAM(Remedy):
    """Take the gradient at the point of a small ball around the weights where the loss is (to first order) largest.

    g(w + e),  e = rho g(w) / |g(w)|_2;  with m: the batch falls into B/m pieces, each with an e of its own, and the pieces'
    gradients g_j(w + e_j) are averaged (m-SAM). A zero gradient gives e = 0.

    Source: Foret et al., 2021, eq. 2 and section 4.1 (m-sharpness); for large batches Surlemont et al. (paper 004), eq. 6.
    Batch-norm statistics come from the first pass only; weight decay, noise and momentum stay outside the perturbation; the loss
    reported is that of the first pass. Without m the whole batch shares one e: the weakest SAM at a large batch.
    With m, plain batch norm sees pieces of m examples, as on m-sized devices.
    Cost: two gradients per step (about 2x), whatever m.
    """

    nesting: ClassVar[Evaluation] = Evaluation.POINT

    rho: float = setting(
        0.0, "radius of the ball, in the 2-norm of all weights; 0 is off", low=0.0, suggested=over(0.02, 1.0, log=True)
    )
    m: int | None = setting(None, "examples that share one perturbation; none: the whole batch", low=1)

    def is_neutral(self) -> bool:
        """With radius 0 nothing is perturbed and the second pass is left out."""
        return self.rho == 0

    def gradient_evaluations(self) -> float:
        """Two mean gradients per update."""
        return 2.0

    def conflicts(self, trial: Trial, num_train: int, module: nn.Module) -> list[str]:
        """Refuse an m that does not divide the batch, and batch statistics over a single example."""
        if self.m is None or self.rho == 0:
            return []
        if trial.batch_size % self.m:
            return [f"sam.m = {self.m} does not divide batch_size = {trial.batch_size}; {_divisors(trial.batch_size)}"]
        if self.m == 1 and any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
            return ["sam.m = 1: batch normalization needs at least two examples in a piece; take m = 2 or more"]
        return []

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the gradient at the perturbed weights, averaged over pieces of m examples."""

        def perturbed(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            length = norm(gradients)
            # below the root of the smallest number the squares vanish and the norm is 0 though the gradient is not: without
            # this bound a perfectly fitted batch (gradients of 1e-22 in float32) would be thrown rho / tiny away
            scale = batch.values["sam.rho"] / length.clamp_min(torch.finfo(length.dtype).tiny ** 0.5)
            point = {name: value + scale * gradients[name] for name, value in params.items()}
            _, ascended, _ = inner(point, buffers, batch)
            return loss, ascended, updated

        if self.m is None:
            return perturbed
        m = self.m

        def by_pieces(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            num_pieces = batch.inputs.shape[0] // m
            parts = [perturbed(params, buffers, batch.piece(j, num_pieces)) for j in range(num_pieces)]
            losses, gradients, updated = zip(*parts, strict=True)
            return torch.stack(losses).mean(), average(list(gradients)), average(list(updated))

        return by_pieces


def _divisors(number: int) -> str:
    return "its divisors: " + ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)

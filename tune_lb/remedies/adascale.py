"""A learning rate that grows with the batch as far as the gradient's noise allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_lb.optimizers.elementwise import SGD
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params, average
from tune_lb.training.pieces import piece_problems
from tune_lb.training.remedy import Remedy, State, TrialFacts

NAME = "adascale"
VARIANCE, SQUARE = f"{NAME}/variance", f"{NAME}/square"


@dataclass(frozen=True)
class AdaScale(Remedy):
    """Scale each step by the gain r between 1 and K = B/b: K where noise dominates the gradient of b examples, 1 where none is.

    r = (v + s) / (v / K + s),  v the variance (trace of the covariance) of the gradient of b examples and s = |E g|_2^2, running
    means of their estimates from the K pieces g_j of the batch, with mean g:
    v_t = max(0, (mean_j |g_j|^2 - |g|^2) K / (K - 1)),  s_t = max(0, |g|^2 - v_t / K);  r = 1 where both are 0.
    A running mean keeps the share `decay`, the first estimate is taken whole. lr is the rate of the batch of b examples.

    Source: Johnson, Agrawal, Gu and Guestrin, 2020, AdaScale SGD: gain and estimators. Departures: schedules and budget go by
    examples, not by the sum of gains, so only the rate is adapted and training is not cut short; the gain multiplies the
    gradient, hence enters the velocity of momentum and leaves weight decay alone.
    Neutral: small_batch_size = None. Cost: one gradient in K pieces; no more gradients.
    Traps: with plain batch norm the step itself sees pieces of b examples, as K machines would (ghost batch norm's gain comes
    along); the first estimates are of one batch.
    """

    name: ClassVar[str] = NAME

    always_in_pieces: ClassVar[bool] = True
    excludes: ClassVar[Mapping[str, str]] = {
        "scaling": "both scale the rate with the batch",
        **dict.fromkeys(
            ("fisher_noise", "initial_variance_noise", "layer_noise"), "both cut the batch into pieces to measure"
        ),
    }

    small_batch_size: int | None = setting(
        None, "examples b for which lr is meant; none: no scaling", low=1, suggested=over([16, 32, 64])
    )
    decay: float | None = setting(
        None, "share of the running means kept per update; none: max(0, 1 - K/1000), as published", low=0.0, below=1.0
    )

    def is_neutral(self) -> bool:
        """Without a small batch there is nothing to scale by."""
        return self.small_batch_size is None

    def piece_sizes(self) -> dict[str, int]:
        """The pieces whose gradients are compared."""
        return {} if self.small_batch_size is None else {f"{NAME}.small_batch_size": self.small_batch_size}

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a rate that is linear in the batch already, optimisers that undo a scale, and a batch without two pieces."""
        b = self.small_batch_size
        if b is None:
            return []
        name = f"{NAME}.small_batch_size = {b}"
        found = []
        if trial.eta_over_b is not None:
            found.append(
                f"{name}: eta_over_b = {trial.eta_over_b:g} is linear in the batch already; give lr, the rate of {b}"
            )
        if not isinstance(trial.optimizer, SGD):
            kind = type(trial.optimizer).__name__
            found.append(f"{name}: {kind} makes nothing of the gradient's scale; the gain is defined for SGD")
        if trial.batch_size < 2 * b:
            return [*found, f"{name}: batch_size = {trial.batch_size} is less than twice as large, no variance to see"]
        return found + piece_problems(f"{NAME}.small_batch_size", b, trial, module)

    def initial_state(self, params: Params) -> State:
        """The running means of variance and squared mean, each ()."""
        zero = next(iter(params.values())).new_zeros(())
        return {"variance": zero, "square": zero.clone()}

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the mean of the pieces' gradients times the gain."""

        def scaled(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            num = batch.size // (self.small_batch_size or batch.size)
            parts = [inner(params, buffers, batch.piece(j, num)) for j in range(num)]
            losses, gradients, updated = zip(*parts, strict=True)
            mean, buffers_after = average(list(gradients)), average(list(updated))
            whole = _square(mean)
            spread = torch.stack([_square(gradient) for gradient in gradients]).mean() - whole
            v = (spread * num / (num - 1)).clamp_min(0.0)
            s = (whole - v / num).clamp_min(0.0)
            decay = max(0.0, 1.0 - num / 1000) if self.decay is None else batch.values[f"{NAME}.decay"]
            kept = (batch.step > 0).to(v.dtype) * decay
            variance = kept * buffers[VARIANCE] + (1.0 - kept) * v
            square = kept * buffers[SQUARE] + (1.0 - kept) * s
            noisy = variance / num + square
            tiny = torch.finfo(noisy.dtype).tiny
            gain = torch.where(noisy > 0, (variance + square) / noisy.clamp_min(tiny), 1.0)
            changed = {name: gain * value for name, value in mean.items()}
            return torch.stack(losses).mean(), changed, buffers_after | {VARIANCE: variance, SQUARE: square}

        return scaled


def _square(tree: Params) -> Tensor:
    return torch.stack([value.square().sum() for value in tree.values()]).sum()

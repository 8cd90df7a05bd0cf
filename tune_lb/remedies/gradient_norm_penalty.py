"""A penalty on the squared gradient norm of each piece of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params, norm
from tune_lb.training.pieces import over_pieces, piece_problems
from tune_lb.training.remedy import Nesting, Remedy, TrialFacts


@dataclass(frozen=True)
class GradientNormPenalty(Remedy):
    """Minimise the loss plus the squared norm of its gradient on small pieces: what small batches do implicitly, made explicit.

    F(w) = (1/K) sum_k [ L_k(w) + c |g_k(w)|_2^2 ],  g_k the gradient of L_k, the mean loss of one of K = B/m pieces. Its gradient
    is the mean of g_k + 2 c H_k g_k, with H_k g_k = |g_k| (g_k(w + h g_k/|g_k|) - g_k(w)) / h + O(h), a difference of gradients
    (h = `distance`). c = eta/4 is the implicit penalty of plain small-batch descent at rate eta; without m there is one piece.

    Source: Barrett and Dherin, 2021, Implicit gradient regularization, eq. 2 to 4; by batches Smith et al., 2021, eq. 1;
    explicit for large batches with this difference Geiping et al., 2022, section 3.2. It is related to SAM, whose gradient is
    to first order that of L + rho |g|, not squared.
    Batch-norm statistics and the loss reported (without the penalty) come from the first pass; weight decay stays outside.
    Neutral: coefficient = 0, whatever the other fields.
    Cost: two gradients per step, whatever m. Trap: rectifiers have kinks within h; float32 loses H g where h is much smaller.
    """

    name: ClassVar[str] = "gradient_norm_penalty"

    nesting: ClassVar[Nesting] = Nesting.POINT
    differentiates_gradients: ClassVar[bool] = True

    coefficient: float = setting(
        0.0, "c, of the squared norm, nats per squared gradient; 0 is off", low=0.0, suggested=over(1e-3, 1.0, log=True)
    )
    m: int | None = setting(
        None, "examples in a piece; none: the whole batch", low=1, suggested=over([16, 32, 64, 128])
    )
    distance: float = setting(0.01, "length h in weights over which the gradient's change is taken", above=0.0)

    def is_neutral(self) -> bool:
        """Without a coefficient there is no second pass, whatever m."""
        return self.coefficient == 0

    def gradient_evaluations(self) -> float:
        """Two mean gradients per update."""
        return 2.0

    def piece_sizes(self) -> dict[str, int]:
        """The pieces whose gradient norms are penalised."""
        return {} if self.m is None else {"gradient_norm_penalty.m": self.m}

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse an m that does not divide the batch, and batch statistics over a single example."""
        return [] if self.m is None else piece_problems("gradient_norm_penalty.m", self.m, trial, module)

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the gradient of loss and penalty, averaged over pieces of m examples."""

        def penalized(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            length, h = norm(gradients), batch.values["gradient_norm_penalty.distance"]
            to_unit = h / length.clamp_min(torch.finfo(length.dtype).tiny ** 0.5)
            point = {name: value + to_unit * gradients[name] for name, value in params.items()}
            _, ahead, _ = inner(point, buffers, batch)
            factor = 2.0 * batch.values["gradient_norm_penalty.coefficient"] * length / h
            return loss, {name: g + factor * (ahead[name] - g) for name, g in gradients.items()}, updated

        return over_pieces(penalized, self.m)

"""Sharpness-aware minimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_lb.schedules import Position
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import DROPOUT_KEY, Batch, Buffers, GradientFn, Params, norm
from tune_lb.training.pieces import over_pieces, piece_problems
from tune_lb.training.remedy import Nesting, Remedy, TrialFacts

OTHER_MASKS = 0x2545F4914F6CDD1D
"""Turns a dropout key into another."""


@dataclass(frozen=True)
class SAM(Remedy):
    """Take the gradient at the point of a small ball around the weights where the loss is (to first order) largest.

    g(w + e),  e = rho g(w) / |g(w)|_2;  with m: the batch falls into B/m pieces, each with an e of its own, and the pieces'
    gradients g_j(w + e_j) are averaged (m-SAM). A zero gradient gives e = 0.
    Any p-norm: e = rho sign(g) |g|^(q-1) / (sum |g|^q)^(1/p), 1/p + 1/q = 1, of length |e|_p = rho; p = 1e9 is infinity to
    rounding (e = rho sign(g)). adaptive (ASAM): the ball |T^-1 e|_p <= rho, whose e is T times the above for T g in place of
    g, p = 2: rho T^2 g / |T g|_2; T = |w| + eta for the parameters named weight (scales of batch norm too), 1 for others.
    every = k: in the steps 0, k, 2k, ... alone; the others are plain steps (of the whole batch, whatever m).

    Source: Foret et al., 2021, eq. 2 and section 4.1 (m-sharpness); for large batches Surlemont et al., "Large batch
    sizes for Deep Learning", eq. 6; adaptive: Kwon et al., 2021, eq. 8.
    Every k steps is SAM left out, not LookSAM, which reuses a part of the last ascent.
    Batch-norm statistics come from the first pass only; weight decay, noise and momentum stay outside the perturbation; the loss
    reported is that of the first pass. Both passes see the same examples and dropout masks; same_masks = False draws the masks
    of the second anew, as ports to PyTorch do. Without m the whole batch shares one e: the weakest SAM at a large batch. With
    m, plain batch norm sees pieces of m examples, as on m-sized devices. Trap: the length that a rho means depends on p (|e|_2
    is up to n^(1/2 - 1/p) rho) and on adaptive (Kwon's rho is 10 times Foret's): search it with them.
    Neutral: rho = 0, whatever the other fields.
    Cost: two gradients per step (about 2x), whatever m; 1 + 1/k with every = k.
    """

    name: ClassVar[str] = "sam"

    nesting: ClassVar[Nesting] = Nesting.POINT

    rho: float = setting(
        0.0,
        "radius of the ball, in the 2-norm of all weights; 0 is off",
        low=0.0,
        suggested=over(0.02, 1.0, log=True),
    )
    m: int | None = setting(None, "examples that share one perturbation; none: the whole batch", low=1)
    p: float | None = setting(None, "norm of the ball, 1e9 for infinity; none: 2", above=1.0, added_later=True)
    adaptive: bool = setting(False, "scale the ball with the weights (ASAM)", added_later=True)
    eta: float = setting(0.01, "added to the size of a weight where adaptive", low=0.0, added_later=True)
    same_masks: bool = setting(True, "the same dropout mask in both passes", added_later=True)
    every: int = setting(1, "updates from one perturbed step to the next", low=1, added_later=True)

    def is_neutral(self) -> bool:
        """With radius 0 nothing is perturbed and the second pass is left out."""
        return self.rho == 0

    def gradient_evaluations(self) -> float:
        """Two mean gradients per perturbed update, one per plain one."""
        return 1.0 + 1.0 / self.every

    def takes_whole_batches(self) -> bool:
        """With plain steps in between the whole batch is taken too."""
        return self.every != 1

    def due(self, position: Position) -> bool:
        """The first of every so many steps is perturbed."""
        return position.step % self.every == 0

    def piece_sizes(self) -> dict[str, int]:
        """The pieces that share a perturbation."""
        return {} if self.m is None else {"sam.m": self.m}

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse an m that does not divide the batch, and batch statistics over a single example."""
        if self.m is None or self.rho == 0:
            return []
        return piece_problems("sam.m", self.m, trial, module)

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the gradient at the perturbed weights, averaged over pieces of m examples."""

        def perturbed(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            step = self._ascent(params, gradients, batch)
            point = {name: value + step[name] for name, value in params.items()}
            _, ascended, _ = inner(point, buffers, batch if self.same_masks else _with_other_masks(batch))
            return loss, ascended, updated

        def now_and_then(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            return (sharp if batch.due["sam"] else inner)(params, buffers, batch)

        sharp = over_pieces(perturbed, self.m)
        return sharp if self.every == 1 else now_and_then

    def _ascent(self, params: Params, gradients: Params, batch: Batch) -> Params:
        scales = gradients
        if self.adaptive:
            sizes = {name: value.abs() + batch.values["sam.eta"] for name, value in params.items() if "weight" in name}
            scales = {name: sizes[name] * g if name in sizes else g for name, g in gradients.items()}
        if self.p is None:
            # below the root of the smallest number the squares vanish and the norm is 0 though the gradient is not: without
            # this bound a perfectly fitted batch (gradients of 1e-22 in float32) would be thrown rho / tiny away
            length = norm(scales)
            scale = batch.values["sam.rho"] / length.clamp_min(torch.finfo(length.dtype).tiny ** 0.5)
            step = {name: scale * value for name, value in scales.items()}
        else:
            step = self._longest(scales, batch)
        return (
            {name: sizes[name] * value if name in sizes else value for name, value in step.items()}
            if self.adaptive
            else step
        )

    def _longest(self, scales: Params, batch: Batch) -> Params:
        """Return the e with |e|_p = rho that has the largest product with the tree."""
        p = batch.values["sam.p"]
        largest = torch.stack([value.abs().max() for value in scales.values()]).max()
        # relative to the largest entry, or powers as high as q = 101 (p = 1.01) would vanish
        sizes = {name: value.abs() / largest.clamp_min(torch.finfo(p.dtype).tiny) for name, value in scales.items()}
        total = torch.stack([(size ** (p / (p - 1.0))).sum() for size in sizes.values()]).sum().clamp_min(1.0)
        scale = batch.values["sam.rho"] / total ** (1.0 / p)
        return {name: scale * value.sign() * sizes[name] ** (1.0 / (p - 1.0)) for name, value in scales.items()}


def _with_other_masks(batch: Batch) -> Batch:
    if DROPOUT_KEY not in batch.examples:
        return batch
    return batch._replace(examples={**batch.examples, DROPOUT_KEY: batch.examples[DROPOUT_KEY] ^ OTHER_MASKS})

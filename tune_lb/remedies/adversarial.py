"""Adversarial training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import OF_EXAMPLES, Batch, Buffers, GradientFn, Params
from tune_lb.training.remedy import Nesting, Remedy


@dataclass(frozen=True)
class Adversarial(Remedy):
    """Train on each example and on the worst one, to first order, within a small box around it.

    f(w) = c L(w, x) + (1 - c) L(w, x + eps sign(grad_x L(w, x))),  c the share of the clean loss; the attack is a constant for
    the gradient in w.

    Source: Goodfellow, Shlens and Szegedy, 2015, section 6 (c = 0.5); for large batches Keskar et al., 2017, appendix E.3.
    eps is in network inputs, (stored - offset) / scale: 0.25 of the pixel range is 0.8 for MNIST here. The attack may leave the
    range of the data. Batch-norm statistics and the loss reported are those of the clean pass.
    Neutral: eps = 0.
    Cost: two gradients per step, the first also with respect to the inputs.
    Trap: with batch normalization the slope of an example runs through the statistics of its batch as well.
    """

    name: ClassVar[str] = "adversarial"

    nesting: ClassVar[Nesting] = Nesting.POINT
    excludes: ClassVar[Mapping[str, str]] = {"stability": "both give the network a second input for each example"}

    eps: float = setting(
        0.0,
        "largest change of an input, in standardized units; 0 is none",
        low=0.0,
        suggested=over(0.01, 0.5, log=True),
    )
    clean_share: float = setting(0.5, "share of the clean loss", low=0.0, below=1.0)

    def computes_with_inputs(self) -> bool:
        """It does."""
        return True

    def is_neutral(self) -> bool:
        """Without room there is no attack."""
        return self.eps == 0

    def gradient_evaluations(self) -> float:
        """Two mean gradients per update."""
        return 2.0

    def model(self, module: nn.Module) -> nn.Module:
        """Let the network add a shift to its inputs, so that the slope in the inputs comes with that in the weights."""
        plain = module.forward
        module.register_buffer(SHIFT, torch.zeros(()))

        def shifted(inputs: Tensor) -> Tensor:
            outputs: Tensor = plain(inputs + getattr(module, SHIFT))
            return outputs

        module.forward = shifted
        return module

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the mean of the clean and the attacked gradient."""

        def attacked(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            at_zero = {**params, SHIFT: torch.zeros_like(batch.inputs)}
            loss, clean, updated = inner(at_zero, buffers, batch)
            shift = batch.values["adversarial.eps"] * clean[SHIFT].sign()
            # among the buffers nothing is differentiated with respect to it
            _, worst, _ = inner(params, {**buffers, SHIFT: shift}, batch)
            share = batch.values["adversarial.clean_share"]
            return loss, {name: share * clean[name] + (1.0 - share) * worst[name] for name in params}, updated

        return attacked


SHIFT = f"adversarial_shift{OF_EXAMPLES}"

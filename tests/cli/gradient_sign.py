"""A remedy of a user's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params
from tune_lb.training.remedy import Remedy


@dataclass(frozen=True)
class GradientSign(Remedy):
    name: ClassVar[str] = "gradient_sign"

    share: float = setting(0.0, "weight of the gradient's sign", low=0.0, high=1.0)

    def gradient(self, inner: GradientFn) -> GradientFn:
        def mixed(params: Params, buffers: Buffers, batch: Batch) -> tuple[object, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            share = batch.values["gradient_sign.share"]
            return loss, {name: (1 - share) * g + share * g.sign() for name, g in gradients.items()}, updated

        return mixed  # type: ignore[return-value]

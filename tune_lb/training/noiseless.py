"""The gradient of an update without the noise that remedies add to it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from tune_lb.training.gradient import GradientFn
from tune_lb.training.step import composed_gradient

if TYPE_CHECKING:
    from tune_lb.training.training import Training


class Noiseless:
    """For `Training.gradients(of=...)`: what a training's updates would be given without remedies that add noise.

    Composed once for each training, of a network of its own.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Training, GradientFn] = WeakKeyDictionary()

    def __call__(self, training: Training) -> GradientFn:
        """Return the gradient function for all its members."""
        if training not in self._known:
            of, module = training.trial, training.networks.fresh("training")
            quiet = dataclasses.replace(of, remedies=tuple(each for each in of.remedies if not each.adds_noise))
            options = (quiet, module, training.execution)
            self._known[training] = composed_gradient(
                *options, stacked=training.stacked, microbatch=training.microbatch
            )
        return self._known[training]

"""Data augmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tune_lb.data.image_transforms import crop, cutout, horizontal_flip, rotate_and_shift
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch
from tune_lb.training.remedy import BatchFn, Remedy


@dataclass(frozen=True)
class Augmentation(Remedy):
    """Change every image at random, each time it is seen.

    x <- square(move(turn(window(mirror(x))))),  what is at its default is left out; new pixels are of the mean colour;
    mirror  left to right, with probability 1/2
    window  as large as the image, in the image padded on all sides; row and column offset ~ U{0, 1, ..., 2 padding}
    turn    about the centre, by an angle ~ U(-rotation, rotation) degrees
    move    down and right, each by a share ~ U(-shift, shift) of the side
    square  of side cutout, overwritten where it lies inside; centre uniform over the pixels

    Source: Keskar et al., 2017, appendix E.1 (flips, 10 degrees, 0.2 of the side); crops He et al., 2016, section 4.2 (padding 4),
    squares DeVries and Taylor, 2017. Departures: rotation and shift are bilinear.
    In training only: evaluation, recalibration of batch norm and metrics take the clean images. Random numbers are each example's
    own, and the same whatever else is switched on; all gradients of a step see the same images.
    Neutral: all fields at their defaults.
    Cost: one pass over the inputs per kind, on the device; no more gradients.
    Trap: digits have no mirror images; running_train_loss is that of the changed images, train_loss that of the clean ones.
    """

    name: ClassVar[str] = "augmentation"

    flip: bool = setting(False, "mirror half of the images", suggested=over([False, True]))
    padding: int = setting(0, "pixels of padding before the crop; 0 is none", low=0, suggested=over([0, 1, 2, 4]))
    rotation: float = setting(0.0, "largest angle, degrees; 0 is none", low=0.0, high=180.0, suggested=over(0.0, 20.0))
    shift: float = setting(
        0.0, "largest movement, share of the side; 0 is none", low=0.0, below=1.0, suggested=over(0.0, 0.3)
    )
    cutout: int = setting(0, "side of the overwritten square, pixels; 0 is none", low=0, suggested=over([0, 2, 4, 8]))
    image_shape: tuple[int, ...] | None = setting(
        None, "(H, W) or (C, H, W) of examples that are stored flat; none: the shape they have"
    )

    def computes_with_inputs(self) -> bool:
        """It does."""
        return True

    def is_neutral(self) -> bool:
        """Without any change the images stay as they are."""
        return not (self.flip or self.padding or self.rotation or self.shift or self.cutout)

    def variant(self) -> tuple[bool, ...]:
        """Return whether images are turned or moved."""
        return (bool(self.rotation or self.shift),)

    def input_problems(self, input_shape: tuple[int, ...]) -> list[str]:
        """Refuse what is no image, and changes larger than the image."""
        shape = input_shape if self.image_shape is None else tuple(self.image_shape)
        if math.prod(shape) != math.prod(input_shape):
            return [
                f"augmentation.image_shape = {shape} has {math.prod(shape)} values, an example {math.prod(input_shape)}"
            ]
        if len(shape) not in (2, 3):
            return [f"augmentation needs images, (H, W) or (C, H, W); an example is {input_shape}: give image_shape"]
        side = min(shape[-2:])
        fields = {"padding": self.padding, "cutout": self.cutout}
        return [
            f"augmentation.{name} = {value} is not below the side of the image, {side} pixels"
            for name, value in fields.items()
            if value >= side
        ]

    def draws(self, generator: torch.Generator, batch_size: int, num_parameters: int, like: Tensor) -> Tensor:
        """Draw eight uniform numbers per example, whatever is switched on: flip, crop (2), turn and move (3), square (2)."""
        return torch.rand((batch_size, 8), generator=generator, dtype=like.dtype, device=like.device)

    def batch(self, inner: BatchFn) -> BatchFn:
        """Return the batch with changed images."""

        def augmented(batch: Batch) -> Batch:
            batch = inner(batch)
            u, values = batch.draws["augmentation"], batch.values
            shape = batch.inputs.shape
            images = batch.inputs if self.image_shape is None else batch.inputs.reshape(shape[0], *self.image_shape)
            if self.flip:
                images = horizontal_flip(images, u[:, 0])
            if self.padding:
                images = crop(images, u[:, 1:3], self.padding)
            if self.rotation or self.shift:
                degrees, shift = values["augmentation.rotation"], values["augmentation.shift"]
                images = rotate_and_shift(images, u[:, 3:6], degrees, shift)
            if self.cutout:
                images = cutout(images, u[:, 6:8], self.cutout)
            return batch._replace(inputs=images.reshape(shape))

        return augmented

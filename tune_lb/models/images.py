"""Fitting a network for images to the shape of the data."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from tune_lb.errors import RequestError


def image_input(model: str, input_shape: Sequence[int], smallest: int) -> tuple[int, int, int, list[nn.Module]]:
    """Return channels, height and width of the inputs, and the modules to put before the first convolution.

    Shapes (C, H, W) and, for one grey channel without a dimension of its own, (H, W): the latter gets the dimension. Raises
    RequestError, naming model and data, for other shapes and for sides below `smallest`, which the pools would use up.
    """
    shape = tuple(input_shape)
    if len(shape) not in (2, 3):
        raise RequestError(
            f"{model} takes images, (channels, height, width) or (height, width); an example of the data is of shape {shape}: "
            "take a fully connected network (MLP), or data that keep the shape of the image"
        )
    channels, height, width = (1, *shape) if len(shape) == 2 else shape
    if min(height, width) < smallest:
        raise RequestError(
            f"{model} needs images of at least {smallest} x {smallest} pixels; those of the data are {height} x {width}"
        )
    return channels, height, width, [nn.Unflatten(1, (1, height))] if len(shape) == 2 else []

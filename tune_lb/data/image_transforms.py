"""Random changes of images, each a function of images and uniform random numbers: on the device, whole batches at once.

Images are (B, C, H, W), or (B, H, W) where there is one channel, before or after standardization; u holds numbers in [0, 1).
Strengths may be tensors of shape (), so that a new value needs no new program. Everything works under torch.func.vmap.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Strength = float | Tensor


def horizontal_flip(images: Tensor, u: Tensor, probability: Strength = 0.5) -> Tensor:
    """Return each image mirrored left to right with the probability. u: (B,)."""
    return torch.where(_each(u < probability, images), images.flip(-1), images)


def crop(images: Tensor, u: Tensor, padding: Strength, fill: Strength = 0.0, *, reflect: bool = False) -> Tensor:
    """Return windows of the size of the images, cut at random from the images padded on every side.

    Row and column offset are uniform over 0 .. 2 padding. u: (B, 2), for rows and columns. padding: pixels, a whole number below
    the sides; 0 changes nothing. fill: value of the padding (0: the mean colour of standardized images); reflect: mirrored
    pixels instead, the border not repeated. Source: He et al., 2016, section 4.2, with padding 4.
    """
    height, width = images.shape[-2:]
    rows, inside_rows = _window(u[:, 0], height, padding, reflect)
    columns, inside_columns = _window(u[:, 1], width, padding, reflect)
    lead = images.shape[1:-2]
    position = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    flat = images.reshape(len(images), -1, height * width)
    moved = flat.gather(-1, position[:, None, :].expand(-1, flat.shape[1], -1)).reshape(images.shape)
    if reflect:
        return moved
    inside = inside_rows[:, :, None] & inside_columns[:, None, :]
    return torch.where(inside.reshape(len(images), *(1,) * len(lead), height, width), moved, fill)


def rotate_and_shift(
    images: Tensor, u: Tensor, degrees: Strength, shift: Strength, fill: Strength = 0.0, *, bilinear: bool = True
) -> Tensor:
    """Return images turned about their centre, then moved.

    Angle uniform in -degrees .. degrees, counterclockwise; movement uniform in -shift .. shift of the side, down and right.
    u: (B, 3), for angle, rows and columns. Uncovered pixels have the value fill (0: the mean colour of standardized images).
    bilinear: False takes the nearest pixel. Source: Keskar et al., 2017, appendix E.1, with degrees = 10 and shift = 0.2.
    """
    height, width = images.shape[-2:]
    angle, down, right = ((2.0 * u - 1.0) * _strengths(u, degrees, shift, shift)).unbind(1)
    angle = torch.deg2rad(angle)
    cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    # pixel (i, j) of the result shows the point that the motion brings there: move back, then turn back, about the centre
    y = torch.arange(height, device=u.device, dtype=u.dtype) - (height - 1) / 2
    x = torch.arange(width, device=u.device, dtype=u.dtype) - (width - 1) / 2
    y, x = y[:, None] - (down * height)[:, None, None], x - (right * width)[:, None, None]
    source_y, source_x = cosine * y + sine * x, cosine * x - sine * y
    grid = torch.stack([source_x * 2 / width, source_y * 2 / height], -1).to(images.dtype)
    planes = images.reshape(len(images), -1, height, width)
    mode = "bilinear" if bilinear else "nearest"
    moved = F.grid_sample(planes - fill, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return (moved + fill).reshape(images.shape)


def cutout(images: Tensor, u: Tensor, size: Strength, fill: Strength = 0.0) -> Tensor:
    """Return images with a square of size x size pixels overwritten, where it lies inside.

    Its centre is uniform over the pixels; rows r with -floor(size/2) <= r - centre < ceil(size/2) are covered, columns alike.
    u: (B, 2), for row and column. size: pixels; 0 changes nothing. fill: 0 is the mean colour of standardized images.
    Source: DeVries and Taylor, 2017, which cuts the same square off at the border.
    """
    covered = [
        _covered(torch.arange(side, device=u.device) - _whole(u[:, i], side)[:, None], size)
        for i, side in enumerate(images.shape[-2:])
    ]
    square = covered[0][:, :, None] & covered[1][:, None, :]
    lead = (1,) * (images.dim() - 3)
    return torch.where(square.reshape(len(images), *lead, *images.shape[-2:]), fill, images)


def _each(values: Tensor, images: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (images.dim() - 1))


def _whole(u: Tensor, num: Strength) -> Tensor:
    """Return uniform whole numbers in 0 .. num - 1; the product may round up to num."""
    return torch.minimum((u * num).floor(), _strengths(u, num)[0] - 1.0).long()


def _strengths(like: Tensor, *values: Strength) -> Tensor:
    return torch.stack([torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in values])


def _window(u: Tensor, side: int, padding: Strength, reflect: bool) -> tuple[Tensor, Tensor]:
    """Return, for each position of the result, which position of the image is shown (B, side), and whether it is inside."""
    start = _whole(u, 2 * padding + 1) - _strengths(u, padding)[0].long()
    source = torch.arange(side, device=u.device) + start[:, None]
    last = side - 1
    if reflect:
        source = last - (last - source.abs()).abs()
    return source.clamp(0, last), (source >= 0) & (source <= last)


def _covered(distance: Tensor, size: Strength) -> Tensor:
    size = torch.as_tensor(size, device=distance.device)
    return (distance >= -(size / 2).floor()) & (distance < (size / 2).ceil())

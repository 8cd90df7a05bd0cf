"""How inputs are standardized: (stored - mean) / deviation of the train part, and over which axis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tune_lb.data.mapped import BLOCK_BYTES, Chosen, MappedArray
from tune_lb.errors import RequestError

Array = npt.NDArray[Any]

AUTO, OFF, ALL, FIRST, LAST, EACH = "auto", "off", "all", "first", "last", "each"
STANDARDIZE = (AUTO, OFF, ALL, FIRST, LAST, EACH)
DESCRIPTION = "what has a mean and deviation of its own: auto, all, first, last, each or off (none: off)"

SAMPLE = 2048
UNLIKE = 20.0
"""Ratio of the spreads of two entries of an axis above which one mean and deviation for both is refused, unless asked for."""


class Standardization(NamedTuple):
    """network input = (stored - offset) / scale; offset and scale have one entry for each entry of the axis of an example.

    axis: None where every entry of an example has its own. said: one line that tells what was done.
    """

    offset: float | tuple[float, ...]
    scale: float | tuple[float, ...]
    axis: int | None
    said: str


def standardization(
    inputs: Array | Chosen, how: str | None = AUTO, kind: str = "images", where: str = ""
) -> Standardization:
    """Return mean and standard deviation of train inputs (N, ...), over all examples and all axes but the chosen one.

    how: `first` axis of an example (channels of (C, H, W) or (C, T)), `last` (features of (T, F)), `each` entry, `all` in one,
    `off`. `auto` is first for images, and for features (F,) each feature, (T, F) the last axis, with more axes the first; off
    for features of whole numbers. kind: "images" or "features". A deviation of zero becomes 1, so that constant features are 0.
    Raises RequestError where auto would give one mean and deviation to entries that differ in spread more than UNLIKE times.
    """
    shape = inputs.shape[1:]
    chosen = how or OFF
    if chosen == AUTO and kind == "features" and np.issubdtype(inputs.dtype, np.integer):
        return Standardization(
            0.0,
            1.0,
            0,
            f"inputs are whole numbers {shape} and stay as they are; to have them standardized give standardize=",
        )
    if chosen == OFF:
        return Standardization(0.0, 1.0, 0, f"inputs {shape} are not standardized: values are as stored")
    if chosen == EACH:
        axis, words = None, f"each of the {int(np.prod(shape))} entries of"
    elif chosen == ALL or (len(shape) == 2 and kind == "images" and chosen in (AUTO, FIRST)):
        axis, words = 0, "all values together, of"
    else:
        last = chosen == LAST or (chosen == AUTO and kind == "features" and len(shape) == 2)
        axis = len(shape) - 1 if last else 0
        words = (
            f"each of the {shape[axis]} entries of axis {axis} of"
            if len(shape) > 1
            else f"each of the {shape[0]} entries of"
        )
        if chosen == AUTO and kind == "features":
            _refuse_unlike(inputs, axis, where)
    mean, deviation = _moments(inputs, axis, together=words.startswith("all"))
    said = f"inputs are standardized by mean and deviation of the train part: {words} an example {shape}"
    return Standardization(tuple(map(float, mean)), tuple(map(float, deviation)), axis, said)


def _moments(inputs: Array | Chosen, axis: int | None, *, together: bool) -> tuple[Array, Array]:
    shape = inputs.shape[1:]

    def grouped(piece: Array) -> Array:
        """Return (n, groups, values) of a piece (n, ...)."""
        if together:
            return piece.reshape(len(piece), 1, -1)
        if axis is None:
            return piece.reshape(len(piece), -1, 1)
        return np.moveaxis(piece, 1 + axis, 1).reshape(len(piece), shape[axis], -1)

    total: Any = 0.0
    squares: Any = 0.0
    count = 0
    for piece in pieces(inputs):
        groups = grouped(piece).astype(np.float64)
        count += groups.shape[0] * groups.shape[2]
        total, squares = total + groups.sum((0, 2)), squares + np.square(groups).sum((0, 2))
    mean = np.asarray(total / count)
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
    deviation[deviation < 1e-12 * (1.0 + np.abs(mean))] = 1.0
    return mean, deviation


def pieces(inputs: Array | Chosen) -> Iterable[Array]:
    """Yield the examples in pieces that need little memory."""
    step = SAMPLE
    if isinstance(inputs.array if isinstance(inputs, Chosen) else inputs, MappedArray):
        row = max(1, inputs.nbytes // max(1, len(inputs)))
        if inputs.dtype == np.uint8:
            step = max(1, BLOCK_BYTES // (8 * row))  # sums of bytes are exact in float64, whatever the pieces
        elif row * SAMPLE > 4 * BLOCK_BYTES:
            step = max(1, 4 * BLOCK_BYTES // row)
    for start in range(0, len(inputs), step):
        yield inputs[start : start + step]


def _refuse_unlike(inputs: Array | Chosen, axis: int, where: str) -> None:
    """Raise RequestError where entries of another axis are of scales that one mean and deviation cannot serve."""
    sample = inputs[:: max(1, len(inputs) // SAMPLE)].astype(np.float64)
    center, deviation = _moments(sample, axis, together=False)
    wide = tuple(-1 if i == axis else 1 for i in range(sample.ndim - 1))
    scaled = (sample - center.reshape(wide)) / deviation.reshape(wide)
    for other in range(sample.ndim - 1):
        if other == axis or sample.ndim < 3:
            continue
        values = np.moveaxis(scaled, 1 + other, 0).reshape(scaled.shape[1 + other], -1)
        low, middle, high = np.quantile(values, (0.1, 0.5, 0.9), axis=1)
        spread = (high - low)[high > low]
        shift = np.ptp(middle) / np.median(spread) if len(spread) else 0.0
        ratio = spread.max() / spread.min() if len(spread) else 1.0
        if max(ratio, shift) > UNLIKE:
            names = {0: "'first'", sample.ndim - 2: "'last'"}
            raise RequestError(
                f"{where}: features are of shape (N, {', '.join(map(str, inputs.shape[1:]))}), and entries of axis {other} of an "
                f"example differ {max(ratio, shift):.0f} times in scale: say which axis holds what has a scale of its own, "
                f"standardize={names.get(other, repr('each'))} for these, {names.get(axis, repr('each'))} for axis {axis}, "
                "'each' for every entry or 'off'"
            )

"""Labelled examples in .npz files: `images` or `features`, `labels`, and `classes` where there are names."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tune_lb.data.dataset import Array, Part
from tune_lb.errors import RequestError

LAYOUTS = ("auto", "channels_first", "channels_last")
INPUTS = ("images", "features")


class Labelled(NamedTuple):
    """What files hold: examples, the names of classes if they have them, and whether inputs are images or features.

    part: its targets are as stored, class numbers as int64, or strings.
    """

    part: Part
    classes: tuple[str, ...]
    kind: str


def read_arrays(path: Path) -> dict[str, Array]:
    """Return all arrays of a file; raise RequestError, naming it, where it is missing, damaged or truncated."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise RequestError(f"{path} is not there") from error
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from error


def names_of(path: Path) -> list[str]:
    """Return the names of a file's arrays; raise RequestError, naming it, where it is damaged or truncated."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return list(archive.files)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def read_labelled(paths: Sequence[Path], layout: str = "auto", prefix: str = "") -> Labelled:
    """Return the examples of files, put one after another; `prefix` is that of the arrays ("train_").

    Images become (N, C, H, W), grey ones without a channel stay (N, H, W); those of uint8 stay, others become float32. Features
    that are whole numbers become int64, others float32. Raises RequestError for missing arrays, numbers that do not match, and
    a layout that cannot be told.
    """
    inputs, labels, kinds = [], [], set()
    classes: tuple[str, ...] = ()
    for path in paths:
        arrays = read_arrays(path)
        kind = next((name for name in INPUTS if prefix + name in arrays), None)
        missing = ([f"`{prefix}images` or `{prefix}features`"] if kind is None else []) + (
            [] if f"{prefix}labels" in arrays else [f"`{prefix}labels`"]
        )
        if kind is None or missing:
            raise RequestError(f"{path} has no array {' and no '.join(missing)}: it has {', '.join(arrays) or 'none'}")
        stored, targets = arrays[prefix + kind], arrays[prefix + "labels"]
        if len(stored) != len(targets):
            raise RequestError(
                f"{path}: {len(stored)} {kind} and {len(targets)} labels: there must be one label for each"
            )
        if kind == "features" and stored.ndim < 2:
            raise RequestError(
                f"{path}: features are of shape {stored.shape}: (N, F) or more is needed; one number is features[:, None]"
            )
        if stored.dtype.kind not in "biuf":
            raise RequestError(f"{path}: {kind} are {stored.dtype}: they must be real numbers")
        inputs.append(as_images(stored, layout, path) if kind == "images" else stored)
        labels.append(targets)
        kinds.add(kind)
        if "classes" in arrays and len(arrays["classes"]) > len(classes):
            classes = tuple(map(str, arrays["classes"]))
    if len(kinds) > 1:
        raise RequestError(f"{paths[0].parent}: some files hold images, others features")
    shapes = {array.shape[1:] for array in inputs}
    if len(shapes) > 1:
        raise RequestError(f"{paths[0].parent}: the files hold examples of different shapes: {sorted(shapes)}")
    joined = np.concatenate(inputs) if len(inputs) > 1 else inputs[0]
    try:
        targets = np.concatenate(labels)
    except np.exceptions.DTypePromotionError as error:
        raise RequestError(f"{paths[0].parent}: labels are strings in some files, numbers in others") from error
    kind = kinds.pop()
    return Labelled(Part(as_inputs(joined, kind), as_stored(targets)), classes, kind)


def as_inputs(stored: Array, kind: str) -> Array:
    """Return images as uint8 or float32 and features as int64 (whole numbers) or float32, of this machine's byte order."""
    if kind == "images" and stored.dtype == np.uint8:
        return stored
    whole = kind == "features" and stored.dtype.kind in "iu"
    return stored.astype(np.int64 if whole else np.float32, copy=False)


def as_stored(labels: Array) -> Array:
    """Return whole numbers, one for each example, as (N,) int64, and other labels as they are."""
    whole = labels.dtype.kind in "iu" and labels.size == len(labels)
    return labels.astype(np.int64).reshape(-1) if whole else labels


def as_images(stored: Array, layout: str, path: Path) -> Array:
    """Return images (N, H, W) as they are and those with channels as (N, C, H, W)."""
    if stored.ndim == 3:
        return stored
    if stored.ndim != 4:
        raise RequestError(
            f"{path}: images are of shape {stored.shape}: (N, H, W), (N, H, W, C) or (N, C, H, W) is needed"
        )
    first, last = stored.shape[1] in (1, 3, 4), stored.shape[3] in (1, 3, 4)
    if layout == "auto" and first == last:
        raise RequestError(
            f"{path}: in images of shape {stored.shape} it cannot be told which dimension is the channel: "
            "give layout='channels_first' or layout='channels_last'"
        )
    if layout == "channels_last" or (layout == "auto" and last):
        return np.ascontiguousarray(stored.transpose(0, 3, 1, 2))
    return stored


def _damaged(path: Path, error: Exception) -> RequestError:
    if "pickle" in str(error):
        return RequestError(
            f"{path} is no .npz file of plain numbers, and is not used: write it by numpy.savez with arrays of numbers, all "
            "examples of one shape; labels that are strings as an array of str, not of objects"
        )
    return RequestError(f"{path} is damaged or truncated, and is not used: {error}. Get or write it again")

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
    """What files hold: examples, and how many classes they name (0: no names)."""

    part: Part
    num_classes: int


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

    Images become (N, C, H, W), grey ones without a channel stay (N, H, W); uint8 stays, features and other numbers become
    float32. Raises RequestError for missing arrays, numbers that do not match, and a layout that cannot be told.
    """
    inputs, labels, num_classes = [], [], 0
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
        if not np.issubdtype(targets.dtype, np.integer):
            raise RequestError(f"{path}: labels are {targets.dtype}: they must be whole numbers")
        if targets.size != len(targets):
            raise RequestError(
                f"{path}: labels are of shape {targets.shape}: there must be one whole number for each example, not a row"
            )
        inputs.append(as_images(stored, layout, path) if kind == "images" else stored)
        labels.append(targets.astype(np.int64).reshape(-1))
        num_classes = max(num_classes, len(arrays["classes"]) if "classes" in arrays else 0)
    shapes = {array.shape[1:] for array in inputs}
    if len(shapes) > 1:
        raise RequestError(f"{paths[0].parent}: the files hold examples of different shapes: {sorted(shapes)}")
    joined = np.concatenate(inputs) if len(inputs) > 1 else inputs[0]
    return Labelled(
        Part(joined if joined.dtype == np.uint8 else joined.astype(np.float32, copy=False), np.concatenate(labels)),
        num_classes,
    )


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
            "examples of one shape"
        )
    return RequestError(f"{path} is damaged or truncated, and is not used: {error}. Get or write it again")

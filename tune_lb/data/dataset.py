"""What a data set is: three parts, cut reproducibly, and how stored values become network inputs."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tune_lb.errors import RequestError
from tune_lb.settings.setting import Settings

Array = npt.NDArray[Any]


class Part(NamedTuple):
    """Some labelled examples."""

    inputs: Array
    """(N, ...) as stored: uint8 or float32."""
    targets: Array
    """(N,) int64 class."""


@dataclass(frozen=True)
class DataSet:
    """A loaded data set: arrays that every trial on a node shares.

    network input = (stored - offset) / scale, in float32. validation may be empty (nothing is selected then).
    offset, scale: one number, or one for each channel of (C, H, W) or feature of (F,): each entry of the first dimension.
    """

    name: str
    num_classes: int
    train: Part
    validation: Part
    test: Part
    offset: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of one example."""
        return tuple(self.train.inputs.shape[1:])

    def standardized(self, stored: Array) -> Array:
        """Return stored examples (N, ...) as network inputs, (stored - offset) / scale in float32."""
        ones = (1,) * (len(self.input_shape) - 1)
        offset, scale = (np.asarray(v, dtype=np.float32).reshape(-1, *ones) for v in (self.offset, self.scale))
        return ((stored.astype(np.float32) - offset) / scale).reshape(stored.shape)

    @functools.cached_property
    def problems(self) -> list[str]:
        """Return what makes the examples unfit for training, one line each: found once, whoever asks."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return [
            f"{self.name}, {name} part: {problem}"
            for name, part in parts.items()
            for problem in part_problems(part, self.input_shape, self.num_classes, may_be_empty=name == "validation")
        ]

    def fingerprint(self) -> str:
        """Return a hash of everything that training or evaluation can see."""
        digest = hashlib.sha256(f"{self.name} {self.num_classes} {self.offset} {self.scale}".encode())
        for part in (self.train, self.validation, self.test):
            for array in part:
                digest.update(f"{array.shape}{array.dtype}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class DataSource(Settings):
    """Base of all data sets as a space names them."""

    def load(self, split_seed: int) -> DataSet:
        """Return the data, cut by the split seed. Raises RequestError if files are missing or the cut is impossible."""
        raise TypeError(f"{type(self).__name__} does not say how it is loaded")

    def has_own_test_split(self) -> bool:
        """Say whether the test part is the publisher's: then it does not change with the split seed."""
        return True


def part_problems(part: Part, input_shape: tuple[int, ...], num_classes: int, *, may_be_empty: bool) -> list[str]:
    """Say what is wrong with labelled examples: their number, shape, labels, and values that are not finite."""
    inputs, targets = part
    found = [] if len(targets) or may_be_empty else ["empty: there is nothing to train on or to test"]
    if len(inputs) != len(targets):
        found.append(f"{len(inputs)} inputs and {len(targets)} labels: there must be one label for each input")
    if len(inputs) and tuple(inputs.shape[1:]) != input_shape:
        found.append(f"examples of shape {tuple(inputs.shape[1:])}, those of the train part are {input_shape}")
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        return [*found, f"labels are {targets.dtype} of shape {targets.shape}: they must be whole numbers, (N,)"]
    wrong = np.flatnonzero((targets < 0) | (targets >= num_classes))
    if len(wrong):
        found.append(
            f"label {targets[wrong[0]]} of example {wrong[0]} is out of range 0 .. {num_classes - 1} "
            f"({len(wrong)} such examples)"
        )
    if len(inputs) and np.issubdtype(inputs.dtype, np.floating):
        pieces = np.array_split(inputs, 1 + len(inputs) // 4096)
        finite = [np.isfinite(piece).reshape(len(piece), -1).all(1) for piece in pieces]
        bad = np.flatnonzero(~np.concatenate(finite))
        if len(bad):
            found.append(
                f"example {bad[0]} has values that are not finite (NaN or infinite) ({len(bad)} such examples): "
                "leave these out, or put values in their place"
            )
    return found


def data_root() -> Path:
    """Return the folder of downloaded data sets: TUNE_LB_DATA, by default `data` in the working directory."""
    return Path(os.environ.get("TUNE_LB_DATA", "data")).expanduser().resolve()


def stratified(targets: Array, sizes: tuple[int, ...], seed: int, name: str) -> list[Array]:
    """Return disjoint index arrays of the given sizes, each with the classes in the proportions of the whole.

    Sizes are met exactly; a class is off its share by about one example.
    """
    total = sum(sizes)
    if total > len(targets):
        raise RequestError(f"{name}: {' + '.join(map(str, sizes))} examples asked for, there are {len(targets)}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(targets))
    # a stable sort by the rank of an example inside its class interleaves the classes in proportion
    counts = np.bincount(targets)
    rank = np.empty(len(targets))
    for label in range(len(counts)):
        members = order[targets[order] == label]
        rank[members] = (np.arange(len(members)) + rng.random()) / max(1, len(members))
    dealt = np.argsort(rank, kind="stable")
    ends = np.cumsum(sizes)
    return [np.sort(dealt[end - size : end]) for size, end in zip(sizes, ends, strict=True)]

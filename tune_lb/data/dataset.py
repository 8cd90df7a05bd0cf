"""What a data set is: three parts, cut reproducibly, and how stored values become network inputs."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tune_lb.errors import RequestError
from tune_lb.setting import Settings

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
    """

    name: str
    num_classes: int
    train: Part
    validation: Part
    test: Part
    offset: float = 0.0
    scale: float = 1.0

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of one example."""
        return tuple(self.train.inputs.shape[1:])

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

"""MNIST and Fashion-MNIST, read by torchvision from TUNE_LB_DATA."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tune_lb.data.catalogue import entry, how_to_get, locate
from tune_lb.data.dataset import Part
from tune_lb.data.published import Published, PublishedSource
from tune_lb.errors import RequestError
from tune_lb.settings.setting import setting

NUM_EXAMPLES = {"train": 60_000, "t10k": 10_000}


@dataclass(frozen=True)
class MNIST(PublishedSource):
    """Handwritten digits, 28 x 28 grey, 60,000 to train and 10,000 to test (LeCun et al., 1998).

    The split seed draws train and validation from the publisher's train images, by class; the test images are all used.
    """

    num_train: int | None = setting(
        50_000, "examples to train on; none: all that validation leaves", low=1, high=60_000
    )
    num_validation: int = setting(10_000, "examples that selection sees", low=0, high=59_999)

    # mean and deviation of the published train pixels, as shares of 255
    mean: ClassVar[float] = 0.1307
    deviation: ClassVar[float] = 0.3081

    def read(self, root: Path) -> Published:
        """Return the published parts, after every file was found whole."""
        from torchvision import datasets

        name = type(self).__name__
        for path in locate(name, root).paths:
            check_idx(path, how_to_get(entry(name)))
        kind: Any = getattr(datasets, name)
        train, test = (
            Part(files.data.numpy(), files.targets.numpy().astype(np.int64))
            for files in (kind(root, train=True), kind(root, train=False))
        )
        return Published(name, 10, train, test, self.mean * 255, self.deviation * 255)


@dataclass(frozen=True)
class FashionMNIST(MNIST):
    """Ten kinds of clothes, 28 x 28 grey, 60,000 to train and 10,000 to test (Xiao et al., 2017)."""

    mean: ClassVar[float] = 0.2860
    deviation: ClassVar[float] = 0.3530


def check_idx(path: Path, how: str) -> None:
    """Raise RequestError, naming the file, unless it is as long as its own header and the publication say.

    idx: two zero bytes, the type (8: uint8), the number of dimensions, each as a big-endian 32-bit number, the values.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if len(head) < 16 or head[:3] != b"\x00\x00\x08" or head[3] not in (1, 3):
        raise RequestError(f"{path} is damaged: it does not begin as an idx file does. Get it again: {how}")
    sizes = struct.unpack(f">{head[3]}I", head[4 : 4 + 4 * head[3]])
    expected, there = 4 + 4 * len(sizes) + math.prod(sizes), path.stat().st_size
    if there != expected:
        raise RequestError(f"{path} is truncated or damaged: {there:,} of {expected:,} bytes. Get it again: {how}")
    published = NUM_EXAMPLES[path.name.split("-")[0]]
    if sizes[0] != published:
        raise RequestError(f"{path} is incomplete: {sizes[0]:,} of {published:,} examples. Get it again: {how}")

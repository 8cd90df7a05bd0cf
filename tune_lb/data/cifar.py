"""CIFAR-10 and CIFAR-100, as torchvision or .npz files hold them under TUNE_LB_DATA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tune_lb.data.catalogue import entry, how_to_get, locate
from tune_lb.data.dataset import Part
from tune_lb.data.npz import read_labelled
from tune_lb.data.published import Published, PublishedSource
from tune_lb.errors import RequestError
from tune_lb.settings.setting import setting


@dataclass(frozen=True)
class CIFAR10(PublishedSource):
    """50,000 and 10,000 photographs of 10 kinds, 32 x 32 RGB (Krizhevsky, 2009)."""

    num_validation: int = setting(5000, "examples that selection sees", low=0)

    num_classes: ClassVar[int] = 10
    # mean and deviation of each channel of the 50,000 train images, as shares of 255
    mean: ClassVar[tuple[float, ...]] = (0.4914, 0.4822, 0.4465)
    deviation: ClassVar[tuple[float, ...]] = (0.2470, 0.2435, 0.2616)

    def read(self, root: Path) -> Published:
        """Return the published parts, or as much as the .npz files hold: then the name says subset."""
        name = type(self).__name__
        found = locate(name, root)
        if found.form == "npz":
            train, test = (read_labelled([path], "channels_last").part for path in found.paths)
        else:
            train, test = (self._pickled(root, train) for train in (True, False))
        full = (len(train.targets), len(test.targets)) == (50_000, 10_000)
        offset, scale = (tuple(255.0 * v for v in values) for values in (self.mean, self.deviation))
        shown = name if full else f"{name} (subset of {len(train.targets)} + {len(test.targets)})"
        return Published(shown, self.num_classes, train, test, offset, scale)

    def _pickled(self, root: Path, train: bool) -> Part:
        from torchvision import datasets
        from torchvision.datasets.utils import check_integrity

        kind: Any = getattr(datasets, type(self).__name__)
        for file, md5 in [*kind.train_list, *kind.test_list]:
            path = root / kind.base_folder / file
            if not check_integrity(path, md5):
                state = "is damaged or truncated (its checksum differs)" if path.exists() else "is missing"
                raise RequestError(f"{path} {state}. Get it again: {how_to_get(entry(type(self).__name__))}")
        files = kind(root, train=train)
        return Part(np.ascontiguousarray(files.data.transpose(0, 3, 1, 2)), np.asarray(files.targets, dtype=np.int64))


@dataclass(frozen=True)
class CIFAR100(CIFAR10):
    """50,000 and 10,000 photographs of 100 kinds, 32 x 32 RGB (Krizhevsky, 2009)."""

    num_validation: int = setting(1000, "examples that selection sees", low=0)

    num_classes: ClassVar[int] = 100
    mean: ClassVar[tuple[float, ...]] = (0.5071, 0.4865, 0.4409)
    deviation: ClassVar[tuple[float, ...]] = (0.2673, 0.2564, 0.2762)

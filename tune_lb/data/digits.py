"""scikit-learn's handwritten digits: 1,797 real images of 8 x 8 pixels, embedded in the package."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tune_lb.data.dataset import DataSet, DataSource, Part
from tune_lb.data.published import Published, PublishedWhole, read_once
from tune_lb.settings.setting import setting


@dataclass(frozen=True)
class Digits(DataSource):
    """Optical recognition of handwritten digits (Alpaydin and Kaynak, 1998; UCI), as scikit-learn ships it.

    It has no test part of its own: the split seed cuts train, validation and test (the rest) by class.
    """

    num_train: int = setting(400, "examples to train on", low=1)
    num_validation: int = setting(400, "examples that selection sees", low=0)

    def has_own_test_split(self) -> bool:
        """No: every split seed has another test part."""
        return False

    def whole(self) -> PublishedWhole:
        """Return the images uncut: read once in this process."""
        read = read_once((Digits,), _read, "digits")
        rest = read.train.number - self.num_train - self.num_validation
        return PublishedWhole(read, self.num_train, self.num_validation, max(rest, 1), "digits")

    def can_be_cut(self) -> bool:
        """Say yes: there are no parts of their own."""
        return True

    def load(self, split_seed: int) -> DataSet:
        """Return the three parts of this cut."""
        return self.whole().split(split_seed)


def _read() -> Published:
    table = _table()
    images, targets = table[:, :-1].astype(np.uint8), table[:, -1].astype(np.int64)
    # mean and deviation of all pixels of the published set, in grey levels 0 .. 16
    return Published("digits", 10, Part(images, targets), None, offset=4.884, scale=6.017)


def _table() -> npt.NDArray[np.float64]:
    """Return pixels and label of every image, (1797, 65): from the package's own file, as importing it takes a second."""
    found = importlib.util.find_spec("sklearn")
    for folder in found.submodule_search_locations or () if found else ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target])

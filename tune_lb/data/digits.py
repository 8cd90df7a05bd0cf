"""scikit-learn's handwritten digits: 1,797 real images of 8 x 8 pixels, embedded in the package."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tune_lb.data.dataset import DataSet, DataSource, Part, stratified
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

    def load(self, split_seed: int) -> DataSet:
        """Return the three parts of this cut."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images, targets = bunch.data.astype(np.uint8), bunch.target.astype(np.int64)
        rest = len(targets) - self.num_train - self.num_validation
        parts = stratified(targets, (self.num_train, self.num_validation, max(rest, 1)), split_seed, "digits")
        train, validation, test = (Part(images[i], targets[i]) for i in parts)
        # mean and deviation of all pixels of the published set, in grey levels 0 .. 16
        return DataSet("digits", 10, train, validation, test, offset=4.884, scale=6.017)

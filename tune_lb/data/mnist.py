"""MNIST, read by torchvision from TUNE_LB_DATA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tune_lb.data.dataset import DataSet, DataSource, Part, data_root, stratified
from tune_lb.errors import RequestError
from tune_lb.setting import setting


@dataclass(frozen=True)
class MNIST(DataSource):
    """Handwritten digits, 28 x 28 grey, 60,000 to train and 10,000 to test (LeCun et al., 1998).

    The split seed draws train and validation from the publisher's train images, by class; the test images are all used.
    """

    num_train: int = setting(50_000, "examples to train on", low=1, high=60_000)
    num_validation: int = setting(10_000, "examples that selection sees", low=0, high=59_999)

    def load(self, split_seed: int) -> DataSet:
        """Return the three parts of this cut."""
        from torchvision.datasets import MNIST as Files

        root = data_root()
        try:
            published, test = Files(root, train=True), Files(root, train=False)
        except RuntimeError as error:
            raise RequestError(
                f"MNIST is not there: no complete set of idx files under {root / 'MNIST' / 'raw'} (TUNE_LB_DATA = {root}). "
                f'Get it: TUNE_LB_DATA=DIR python -c "import os, torchvision; '
                f"torchvision.datasets.MNIST(os.environ['TUNE_LB_DATA'], download=True)\", then set TUNE_LB_DATA=DIR"
            ) from error
        images, targets = published.data.numpy(), published.targets.numpy().astype(np.int64)
        chosen = stratified(targets, (self.num_train, self.num_validation), split_seed, "MNIST train images")
        train, validation = (Part(images[i], targets[i]) for i in chosen)
        return DataSet(
            "MNIST",
            10,
            train,
            validation,
            Part(test.data.numpy(), test.targets.numpy().astype(np.int64)),
            # mean and deviation of the published train pixels, in grey levels 0 .. 255
            offset=0.1307 * 255,
            scale=0.3081 * 255,
        )

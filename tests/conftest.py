"""What every test runs under: one thread, and real data where they are."""

from __future__ import annotations

import pytest
import torch

from tests.searching import searches, whole  # noqa: F401  (fixtures of several modules)
from tune_lb.data.dataset import data_root


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Results differ to rounding between thread counts."""
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skip(reason=f"no MNIST under {data_root() / 'MNIST'}: set TUNE_LB_DATA")
    if not (data_root() / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(missing)

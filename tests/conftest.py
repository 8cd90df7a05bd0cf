"""What every test runs under: one thread, and real data where they are."""

from __future__ import annotations

import pytest
import torch

from tests.searching import searches, whole  # noqa: F401  (fixtures of several modules)
from tune_lb.data.catalogue import look
from tune_lb.data.dataset import data_root


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Results differ to rounding between thread counts."""
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs data sets that are not there: `data("CIFAR10", ...)` names them, `data` alone is MNIST."""
    for item in items:
        marker = item.get_closest_marker("data")
        missing = [name for name in (marker.args or ("MNIST",)) if look(name, data_root()) is None] if marker else []
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"no {', '.join(missing)} under {data_root()}: set TUNE_LB_DATA"))

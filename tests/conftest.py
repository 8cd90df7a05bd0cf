"""What every test runs under: one thread, real data where they are, and other kinds only where they are asked for."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest
import torch

from tests.searching import searches, whole  # noqa: F401  (fixtures of several modules)
from tune_lb.data import places
from tune_lb.data.catalogue import look
from tune_lb.data.places import data_root


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Results differ to rounding between thread counts."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def modules_of_a_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget what the fixtures of a file of tests imported: xdist may make them again in the same process, elsewhere."""
    yield from own_modules_forgotten(tmp_path_factory)


@pytest.fixture(autouse=True)
def modules_of_a_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget what a test imported: many modules are called mine."""
    yield from own_modules_forgotten(tmp_path_factory)


def own_modules_forgotten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget, at the end, modules that were imported from folders of tests, the way to these folders, and where a space lay."""
    before, path, beside = set(sys.modules), set(sys.path), list(places._folder)
    yield
    places._folder[:] = beside
    folder = str(tmp_path_factory.getbasetemp())
    sys.path[:] = [entry for entry in sys.path if entry in path or not entry.startswith(folder)]
    for name in sys.modules.keys() - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(folder):
            del sys.modules[name]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow by its kind, leave out soak, gpu, zoo and spaces unless -m names them, skip what needs what is not there.

    `data("CIFAR10", ...)` names data sets, `data` alone is MNIST. `-m` itself is applied after this. Searches come first: one
    of several processes begins with them, the others take what it has not come to.
    """
    for kind in ("soak", "gpu", "zoo", "spaces"):
        if kind not in config.option.markexpr:
            config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker(kind)])
            items[:] = [item for item in items if not item.get_closest_marker(kind)]
    without_gpu = os.environ.get("TUNE_LB_TEST_DEVICE", "cuda") != "cpu" and not torch.cuda.is_available()
    for item in items if without_gpu else []:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)
    for item in items:
        if any(item.get_closest_marker(kind) for kind in ("soak", "zoo", "spaces", "ray", "data")):
            item.add_marker(pytest.mark.slow)
        marker = item.get_closest_marker("data")
        missing = [name for name in (marker.args or ("MNIST",)) if look(name, data_root()) is None] if marker else []
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"no {', '.join(missing)} under {data_root()}: set TUNE_LB_DATA"))


def pytest_collection_finish() -> None:
    """Let no later garbage collection look at what stays anyway, all modules and tests: it takes a second each time."""
    gc.collect()
    gc.freeze()

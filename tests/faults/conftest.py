"""Runs to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.small_runs import run_of, search


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run. It must be left as it is."""
    place = tmp_path_factory.mktemp("done")
    assert len(search(place).trained) == 12
    return place


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return run_of(tmp_path)

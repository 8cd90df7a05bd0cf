"""One fabricated run for all tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import Results, load
from tests.analysis.fabrication import ARMS, Procedure, fabricate, store_run

PROCEDURE = Procedure(num_trials=6, split_seeds=(0, 1, 2), split_std=0.001)


@pytest.fixture(scope="session")
def results() -> Results:
    """In memory: no history, no predictions."""
    return Results(fabricate(ARMS, PROCEDURE))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As workers leave it, with history and predictions."""
    folder = tmp_path_factory.mktemp("runs") / "fabricated"
    store_run(fabricate(ARMS, PROCEDURE), str(folder))
    return folder


@pytest.fixture(scope="session")
def stored(run_folder: Path) -> Results:
    return load(run_folder)

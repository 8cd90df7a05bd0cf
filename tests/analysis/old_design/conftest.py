"""One fabricated run for all tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import load
from analysis.old_design.results import OldResults
from tests.analysis.old_design.fabrication import ARMS, Procedure, fabricate, store_run

PROCEDURE = Procedure(num_trials=6, split_seeds=(0, 1, 2), split_std=0.001)


@pytest.fixture(scope="session")
def results() -> OldResults:
    """In memory: no history, no predictions."""
    return OldResults(fabricate(ARMS, PROCEDURE))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As workers leave it, with history and predictions."""
    folder = tmp_path_factory.mktemp("runs") / "fabricated"
    store_run(fabricate(ARMS, PROCEDURE), str(folder))
    return folder


@pytest.fixture(scope="session")
def stored(run_folder: Path) -> OldResults:
    return load(run_folder)

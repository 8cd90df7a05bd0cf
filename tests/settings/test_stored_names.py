"""Names in identities stay for good: those of the first runs are found again, and mean types that are there."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

from tune_lb.settings.identity import name_in_identities
from tune_lb.settings.stored_names import STORED

ROOT = Path(__file__).parents[2]
RUNS = sorted([*(ROOT / "docs" / "results").glob("*/space.json"), *(ROOT / "tests" / "old_runs").glob("*/space.json")])
NAMED = re.compile(r'"type": "(tune_lb\.[\w.]+)"')


@pytest.mark.parametrize("public", sorted(STORED))
def test_a_stored_name_is_that_of_a_type_which_is_there(public):
    module, _, name = public.rpartition(".")
    assert name_in_identities(getattr(importlib.import_module(module), name)) == STORED[public]


def test_no_two_types_are_stored_under_one_name():
    assert len(set(STORED.values())) == len(STORED)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parents[1].name}/{path.parent.name}")
def test_every_type_of_a_committed_run_is_known(path):
    """A name of a run is stored for a type that moved, or that of a type which lies where it lay."""
    found = {name for text in json.loads(path.read_text())["resolved"].values() for name in NAMED.findall(text)}
    assert len(found) > 3
    for stored in found - set(STORED.values()):
        module, _, name = stored.rpartition(".")
        assert name_in_identities(getattr(importlib.import_module(module), name)) == stored

"""The table of remedies: complete, from the files alone, with ranges that are allowed."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tests.cli.conftest import Called
from tests.trainings import remedy_classes
from tune_lb.cli.remedies import described, other_classes, sentence
from tune_lb.optimizers.settings import OptimizerSettings


def test_every_remedy_is_listed(call: Called) -> None:
    code, out, err = call("remedies", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)["remedies"]}
    assert code == 0
    others = {"LARS", "LAMB", "Muon", "Trapezoid", "Cyclical", "Updates"}
    assert listed.keys() == {kind.name for kind in remedy_classes()} | others
    assert listed["LARS"]["place"] == "optimizer"
    assert listed["LARS"]["dimensions"]["lr"] == {"low": 0.3, "high": 30.0, "log": True, "integer": False}
    assert listed["sam"]["dimensions"]["sam.rho"] == {"low": 0.02, "high": 1.0, "log": True, "integer": False}
    assert listed["sam"]["source"].startswith("Foret et al., 2021")
    assert "gradients per step" in err


@pytest.mark.parametrize("kind", [*remedy_classes(), *other_classes()])
def test_every_remedy_says_what_to_search_what_it_costs_and_where_it_is_from(kind) -> None:
    entry = described(kind)
    assert entry["dimensions"]
    assert entry["summary"].endswith(".")
    for part in ("cost", "source"):
        assert 0 < len(entry[part]) < 250, "a sentence, not the rest of the docstring"
    for field, domain in kind.suggested().items():
        assert dataclasses.replace(kind(), **{field: domain}).problems() == []
        assert domain.problems() == []
    if issubclass(kind, OptimizerSettings):
        assert kind.suggested_lr.problems() == []


def test_a_sentence_ends_where_the_next_begins() -> None:
    text = "First.\n\nSource: A et al., 2021, eq. 2\nand section 1. Departures: none.\nCost: two (about\n2x)\n\nEnd."
    assert sentence(text, "Source") == "A et al., 2021, eq. 2 and section 1"
    assert sentence(text, "Cost") == "two (about 2x)"
    assert sentence(text, "Trap") == ""
    assert sentence("First.\n\nTo the end. Cost: none. More.", "Cost") == "none"

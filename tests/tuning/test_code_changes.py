"""A change of the user's code is named and refused, or accepted and marked (A5)."""

from __future__ import annotations

import pytest

from tests.trainings import Blobs
from tune_lb import Arm, Space
from tune_lb.errors import RequestError
from tune_lb.models import MLP
from tune_lb.results.code_versions import salts
from tune_lb.search.data_facts import DataFacts
from tune_lb.search.planner import Search
from tune_lb.space.checks import checked_designs
from tune_lb.space.own_code import code_of_arms
from tune_lb.tuning.code_changes import changed_code, code_versions


def space(*arms: Arm) -> Space:
    return Space(question="?", data=Blobs(), model=MLP(hidden=(4,)), batch_size=10, lr=0.1, arms=arms)


CODES = code_of_arms(checked_designs(space(Arm("a"), Arm("b"))))


def test_a_new_run_an_old_run_and_the_same_code() -> None:
    versions, notes = code_versions("run", CODES, None)
    assert [entry["fingerprint"] == entry["first"] for entry in versions.values()] == [True, True]
    assert versions["a"]["definitions"], "data of tests are as a user's own"
    assert notes == []
    assert code_versions("run", CODES, {"code": versions}) == (versions, [])
    later, notes = code_versions("run", CODES, {})
    assert later == versions
    assert len(notes) == 1
    assert "begun before code was recorded" in notes[0]


def test_changed_code_is_refused_by_name_or_accepted() -> None:
    versions, _ = code_versions("run", CODES, None)
    key = next(key for key in versions["a"]["definitions"] if key.endswith(":Blobs"))
    older = {
        "fingerprint": "old",
        "first": "old",
        "definitions": {**versions["a"]["definitions"], key: "other"},
    }
    known = {"code": versions | {"a": older}}
    with pytest.raises(RequestError) as caught:
        code_versions("run", CODES, known)
    lines = str(caught.value).splitlines()
    assert lines[1] == "  Blobs in trainings.py changed (arm a)"
    assert "--accept-code-change" in lines[2]
    accepted, notes = code_versions("run", CODES, known, accepted=True)
    assert notes == ["Blobs in trainings.py changed (arm a); what it was trained with before is left out"]
    assert (accepted["a"]["first"], accepted["b"]) == ("old", versions["b"])
    assert accepted["a"]["fingerprint"] == versions["a"]["fingerprint"]
    assert changed_code({"a": older, "b": older}, versions) == ["Blobs in trainings.py changed (every arm)"]


def test_trials_of_changed_code_are_others_and_those_of_the_first_stay() -> None:
    first, _ = code_versions("run", CODES, None)
    changed = first | {"a": first["a"] | {"first": "old"}}
    found = {}
    for name, versions in (("first", first), ("changed", changed)):
        search = Search(space(Arm("a"), Arm("b")), DataFacts("data", 10, salts=salts(versions)))
        found[name] = {arm: search.members(arm, "confirm", search.selected(arm))[0].trial_id for arm in ("a", "b")}  # type: ignore[arg-type]
    plain = Search(space(Arm("a"), Arm("b")), DataFacts("data", 10))
    assert found["first"] == {arm: plain.members(arm, "confirm", plain.selected(arm))[0].trial_id for arm in ("a", "b")}  # type: ignore[arg-type]
    assert found["changed"]["b"] == found["first"]["b"]
    assert found["changed"]["a"] != found["first"]["a"]

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.killing import kill_at
from tune_lb.results.ledger import Event, Ledger
from tune_lb.results.storage import Store


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path / "ledger"))


def test_events_come_back_in_order_of_time(ledger: Ledger) -> None:
    facts = {"lr": 0.1, "seeds": [0, 1], "arm": "sam", "none": None}
    assert ledger.record("b", "proposed.0", facts)
    assert ledger.record("a", "proposed.1", {})
    assert ledger.record("b", "failed.0", {"error": "x"})
    found = Ledger(ledger.store).events()
    assert [(event.trial_id, event.event) for event in found] == [
        ("b", "proposed.0"),
        ("a", "proposed.1"),
        ("b", "failed.0"),
    ]
    assert found[0].facts == facts
    age = datetime.now(UTC) - datetime.fromisoformat(found[0].time)
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_equal_times_are_ordered_by_name(ledger: Ledger) -> None:
    for name in ("b.x", "a.y", "a.x"):
        trial_id, event = name.split(".")
        text = f'{{"trial_id": "{trial_id}", "event": "{event}", "time": "2026", "facts": {{}}}}'
        ledger.store.write(f"{name}.json", text.encode())
    assert ledger.events() == [Event("a", "x", "2026", {}), Event("a", "y", "2026", {}), Event("b", "x", "2026", {})]


def test_an_event_never_changes(ledger: Ledger) -> None:
    assert ledger.record("a", "interrupted", {"step": 1})
    assert not ledger.record("a", "interrupted", {"step": 2})
    assert not Ledger(ledger.store).record("a", "interrupted", {"step": 3})
    assert [event.facts for event in ledger.events()] == [{"step": 1}]


def test_events_of_others_are_seen_later(ledger: Ledger) -> None:
    assert ledger.events() == []
    Ledger(ledger.store).record("a", "proposed.0", {})
    assert [event.trial_id for event in ledger.events()] == ["a"]


@pytest.mark.parametrize(
    "content",
    [b"", b'{"trial_id": "a"', b"\xff\xfe", b"[]", b'{"trial_id": "a", "event": "failed.0", "time": "2026"}'],
)
def test_a_corrupt_file_is_named_and_skipped_until_it_is_whole(ledger: Ledger, content: bytes) -> None:
    ledger.record("a", "proposed.0", {})
    ledger.store.write("a.failed.0.json", content)
    assert [event.event for event in ledger.events()] == ["proposed.0"]
    assert len(ledger.problems) == 1
    assert ledger.problems[0].startswith("ledger: a.failed.0.json is not")
    assert "\n" not in ledger.problems[0]
    assert ledger.record("a", "failed.0", {})
    assert [event.event for event in ledger.events()] == ["proposed.0", "failed.0"]
    assert ledger.problems == []


def test_a_file_under_another_name_is_skipped(ledger: Ledger) -> None:
    ledger.record("a", "proposed.0", {})
    # as one written before there were checksums
    event = ledger.store.read("a.proposed.0.json").replace(b"tune_lb.checksum", b"x")
    ledger.store.write("b.proposed.0.json", event)
    assert [event.trial_id for event in ledger.events()] == ["a"]
    assert "b.proposed.0.json holds event proposed.0 of trial a" in ledger.problems[0]


def test_a_kill_in_the_middle_leaves_no_event(ledger: Ledger, tmp_path: Path) -> None:
    code = (
        "from tune_lb.results.ledger import Ledger; from tune_lb.results.storage import Store\n"
        f"ledger = Ledger(Store({ledger.store.location!r}))\n"
        "ledger.record('a', 'proposed.0', {}); ledger.record('a', 'failed.0', {})"
    )
    assert kill_at("ledger@failed", code, tmp_path).endswith("/a.failed.0.json")
    assert [event.event for event in ledger.events()] == ["proposed.0"]
    assert ledger.problems == []
    assert len(os.listdir(ledger.store.root)) == 2, "the kill did not come between temporary file and rename"
    assert ledger.record("a", "failed.0", {})


@pytest.mark.parametrize(
    ("trial_id", "event"), [("", "x"), ("a.b", "x"), ("a/b", "x"), ("a", ""), ("a", "x."), ("a", "x/y")]
)
def test_names_that_are_no_file_names_are_refused(ledger: Ledger, trial_id: str, event: str) -> None:
    with pytest.raises(ValueError, match="allowed are"):
        ledger.record(trial_id, event, {})


@pytest.mark.parametrize("fact", [float("nan"), object()])
def test_facts_that_are_not_json_are_refused(ledger: Ledger, fact: object) -> None:
    with pytest.raises(ValueError, match=r"a\.proposed\.0\.json: the facts are not plain JSON"):
        ledger.record("a", "proposed.0", {"x": fact})
    assert ledger.events() == []

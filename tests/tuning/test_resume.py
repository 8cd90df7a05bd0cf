"""A search that is killed, interrupted, extended or damaged: the same command trains exactly what is missing.

Members are counted where they are trained, by a metric of the tiny space that writes down the weights of every member it
sees (tests/searching.py): a member trained twice is there twice.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from tests.searching import TIMEOUT_S, Searches

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes to kill through /proc"),
]

SEARCH = ("search", "spaces/tiny.py", "--sampler", "tpe")


def assert_as_if_nothing_had_been(searches: Searches, whole: Searches, name: str = "tiny") -> None:
    found, expected = searches.results(name), whole.results("tiny")
    assert not found.index.duplicated().any()
    columns = ["witness", "test_error", "validation_error", "train_loss", "stage", "status", "lr", "updates"]
    pd.testing.assert_frame_equal(found[columns], expected[columns], check_exact=True)
    for kind in ("history", "predictions"):
        files = [pd.read_parquet(s.folder / "runs" / "tiny" / kind / f"{kind}.parquet") for s in (searches, whole)]
        assert len(files[0]) == len(files[1])


def begin_as(searches: Searches, whole: Searches) -> None:
    """Begin a run where the other one was when it had been prepared: how its members are trained was timed then."""
    (searches.folder / "runs" / "tiny").mkdir(parents=True)
    shutil.copy(whole.folder / "runs" / "tiny" / "space.json", searches.folder / "runs" / "tiny")


def test_killed_at_every_dangerous_moment(searches: Searches, whole: tuple[Searches, str, str]) -> None:
    begin_as(searches, whole[0])
    trials = searches.folder / "runs" / "tiny" / "trials"
    stored: dict[str, tuple[str, int]] = {}
    for point, expected in (
        ("ledger@.proposed.1.json", "/ledger/"),
        ("step@step 3 of", "step 3 of"),
        ("report@.search.", ".search."),
        ("rename@.confirm.2000-2001.members", "/trials/"),
    ):
        before, temporary = len(searches.trained()), set(trials.glob(".*"))
        assert expected in searches.kill_at(point, *SEARCH)
        assert not set(searches.trained()[before:]) & set(stored), "trained again although it was stored"
        assert stored.items() <= searches.stored("tiny").items()
        stored = searches.stored("tiny")
        left = set(trials.glob(".*")) - temporary
        assert bool(left) == point.startswith("rename"), "between a whole temporary file and its name"
    assert len(stored) >= 4, "an arm had been searched when the last kill came"
    before = len(searches.trained())
    code, out, err = searches.run(*SEARCH)
    assert (code, err) == (0, ""), out + err
    assert not set(searches.trained()[before:]) & set(stored)
    # what a kill cut off between training and storing is trained again, and nothing more: a job of each of two workers
    again = Counter(searches.trained())
    assert sum(again.values()) - len(again) <= 3 * 2 * 2
    assert_as_if_nothing_had_been(searches, whole[0])
    assert not list((searches.folder / "runs" / "tiny").rglob(".*")), "what the killed writers left is gone"
    assert not (searches.folder / "runs" / "tiny" / "ray").exists()
    assert len(list((searches.folder / "runs" / "tiny" / "ledger").glob("*.json"))) == 6, "two proposals of three arms"


def test_interrupted_then_gone_on_with_more_seeds(searches: Searches) -> None:
    words = ("search", "spaces/tiny.py", "--storage", "out/deep", "--name", "mine")
    marker = searches.folder / "marker"
    # the workers are held in the first confirm job, so that the signal comes while something runs
    process = searches.start(*words, TUNE_LB_PAUSE="report@.confirm.:600", TUNE_LB_PAUSE_MARKER=str(marker))
    trials = searches.folder / "out" / "deep" / "mine" / "trials"
    end = time.monotonic() + TIMEOUT_S
    while not marker.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    # a terminal sends it to the whole group
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (130, ""), out
    assert "interrupted: " in out
    assert "the same command goes on from there" in out
    assert out.splitlines()[-1].endswith("search spaces/tiny.py --name mine --storage out/deep")
    searches.kill_all()
    assert not (trials.parent / "ray").exists()

    stored = searches.stored("mine", "out/deep")
    before = len(searches.trained())
    assert 0 < len(stored) < 20
    code, out, err = searches.run(*words, "--seeds", "3", "confirm_seeds=3")
    assert (code, err) == (0, ""), out
    new = searches.trained()[before:]
    assert len(new) == len(set(new))
    assert not set(new) & set(stored)
    results = searches.results("mine", "out/deep")
    assert set(results["witness"]) == set(new) | set(stored)
    counts = results.reset_index().groupby(["arm", "stage"]).size().unstack()
    assert counts["search"].to_dict() == {"small": 6, "large": 6, "noisy": 6}
    assert counts["confirm"].to_dict() == {"small": 3, "large": 3, "noisy": 3}


def test_failed_members_are_stored_and_only_they_are_tried_again(searches: Searches) -> None:
    (searches.log / "fail").touch()
    # one at a time: the event of a failure is half written when the kill comes, its row is whole
    assert "/ledger/" in searches.kill_at("ledger@.failed.", "search", "spaces/tiny.py", "--max-concurrent", "1")
    before = searches.stored("tiny")
    code, out, err = searches.run("search", "spaces/tiny.py")
    assert (code, err) == (3, ""), out
    assert "RuntimeError: told to fail" in out
    assert "the same command trains them again" in out
    failed = searches.results("tiny")
    assert set(failed[failed["arm"] == "noisy"]["status"]) == {"failed"}
    assert set(failed[failed["arm"] != "noisy"]["status"]) == {"completed"}
    assert {"confirm"} <= set(failed[failed["arm"] == "large"]["stage"])
    stored, trained = searches.stored("tiny"), searches.trained()
    assert before.items() <= stored.items()
    assert len(trained) == len(set(trained))

    (searches.log / "fail").unlink()
    code, out, err = searches.run("search", "spaces/tiny.py")
    assert (code, err) == (0, ""), out
    results = searches.results("tiny")
    new = searches.trained()[len(trained) :]
    assert set(results["status"]) == {"completed"}
    assert set(results[results["arm"] == "noisy"]["witness"]) == set(new)
    assert not set(new) & set(stored)


def test_damage_and_change(searches: Searches, whole: tuple[Searches, str, str]) -> None:
    shutil.copytree(whole[0].folder / "runs", searches.folder / "runs")
    run = searches.folder / "runs" / "tiny"
    broken = sorted((run / "trials").glob("*.search.0-1.members.parquet"))[0]
    lost = set(pd.read_parquet(broken)["witness"])
    broken.write_bytes(broken.read_bytes()[:100])
    (run / "ray" / "state").mkdir(parents=True)
    code, out, err = searches.run(*SEARCH)
    assert (code, err) == (0, ""), out
    assert broken.name in out
    assert "left out" in out
    assert set(searches.trained()) == lost
    assert len(searches.trained()) == 2
    assert_as_if_nothing_had_been(searches, whole[0])
    assert not (run / "ray").exists()

    code, out, err = searches.run(*SEARCH, "epochs=2", "noisy.batch_size=50")
    assert code == 2
    assert "exists with another space" in err
    assert "arms.noisy.batch_size: was 100, now 50" in err
    assert "arms.*.epochs: was 4, now 2" in err
    assert "--fresh" in err
    assert len(searches.results("tiny")) == len(whole[0].results("tiny"))

    code, out, err = searches.run(
        *SEARCH, "epochs=2", "noisy.batch_size=50", "--num-samples", "1", "--seeds", "1", "confirm_seeds=1", "--fresh"
    )
    assert (code, err) == (0, ""), out
    results = searches.results("tiny")
    assert len(results) == 3 * 2
    assert set(results["epochs"]) == {2.0}
    assert json.loads((run / "space.json").read_text())["seeds"] == 1


def test_the_same_command_of_a_finished_search_trains_nothing(whole: tuple[Searches, str, str]) -> None:
    before = whole[0].trained()
    code, out, err = whole[0].run(*SEARCH, "--json")
    assert code == 0, err
    assert json.loads(out)["status"] == "done"
    assert whole[0].trained() == before

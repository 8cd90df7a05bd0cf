"""Searches with two workers at every dangerous moment alone, and at several; failures, interruptions and damage one by one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.searching import (
    SEARCH,
    SPACE,
    TIMEOUT_S,
    Searches,
    assert_as_if_nothing_had_been,
    assert_kills_cost_no_result,
    members_file,
)
from tests.tuning.test_resume import MOMENTS

pytestmark = [
    pytest.mark.soak,
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes to kill through /proc"),
]

ALL_MOMENTS = (
    ("ledger@.proposed.0.json", "/ledger/"),
    ("step@step 1 of 4", "step 1 of 4"),
    ("step@step 19 of 20", "step 19 of 20"),
    ("rename@.search.0.history", "/trials/"),
    ("rename@.search.0.predictions", "/trials/"),
    ("rename@.search.0.members", "/trials/"),
    ("report@.search.", ".search."),
    ("rename@.decide.0.members", "/trials/"),
    ("report@.decide.", ".decide."),
    ("rename@/weights/", "/weights/"),
    ("rename@.confirm.0.history", "/trials/"),
    ("rename@.confirm.0.predictions", "/trials/"),
    ("report@.confirm.", ".confirm."),
    ("rename@/results/", "/results/"),
    ("rename@/space.json", "/space.json"),
)
"""In the order in which they come."""


@pytest.mark.parametrize("moment", ALL_MOMENTS, ids=lambda moment: moment[0])
def test_killed_at_a_moment(searches: Searches, whole: tuple[Searches, str, str], moment: tuple[str, str]) -> None:
    assert_kills_cost_no_result(searches, whole[0], [moment], num_workers=2)


@pytest.mark.parametrize("moments", [MOMENTS, ALL_MOMENTS], ids=["kinds", "all"])
def test_killed_again_and_again(
    searches: Searches, whole: tuple[Searches, str, str], moments: tuple[tuple[str, str], ...]
) -> None:
    assert_kills_cost_no_result(searches, whole[0], moments, num_workers=2)


STACK_MOMENTS = ("step@step 3 of 4", "rename@.decide.0.members", "step@step 19 of 20", "report@.confirm.")


def test_killed_in_the_middle_of_stacks(searches: Searches, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As many trials as fit train as one program: every member is there once, as it would be, up to rounding."""
    other = Searches(tmp_path_factory.mktemp("whole"))
    words = ("search", "spaces/tiny.py", "--max-concurrent", "1")
    for each in (searches, other):
        each.space.write_text(SPACE.replace('execution="alone"', 'execution="together"'))
    code, out, err = other.run(*words)
    other.kill_all()
    assert (code, err) == (0, ""), out
    for moment in STACK_MOMENTS:
        stored = searches.stored("tiny") if searches.trained() else {}
        searches.kill_at(moment, *words)
        assert stored.items() <= searches.stored("tiny").items()
        assert not set(searches.trained()[len(set(stored)) :]) & set(stored), "trained again although it was stored"
    code, out, err = searches.run(*words)
    assert (code, err) == (0, ""), out
    found, expected = searches.results("tiny"), other.results("tiny")
    assert found.index.tolist() == expected.index.tolist()
    assert set(found["execution"]) == {"together"}
    assert found["stage"].tolist() == expected["stage"].tolist()
    assert found["train_loss"].tolist() == pytest.approx(expected["train_loss"].tolist(), rel=1e-3)
    assert found["test_error"].tolist() == pytest.approx(expected["test_error"].tolist(), abs=0.01)


def test_interrupted_then_gone_on_with_more_blocks(searches: Searches) -> None:
    words = ("search", "spaces/tiny.py", "--storage", "out/deep", "--name", "mine")
    process, _ = searches.start_until("report@.confirm.", *words)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (130, ""), out
    searches.kill_all()
    stored, before = searches.stored("mine", "out/deep"), len(searches.trained())
    assert 0 < len(stored) < 24
    code, out, err = searches.run(*words, "--confirm-blocks", "3")
    assert (code, err) == (0, ""), out
    new = searches.trained()[before:]
    assert len(new) == len(set(new))
    assert not set(new) & set(stored)
    results = searches.results("mine", "out/deep")
    assert set(results["witness"]) == set(new) | set(stored)
    counts = results.reset_index().groupby(["arm", "stage"]).size().unstack()
    assert counts["search"].to_dict() == {"small": 2, "large": 2, "noisy": 2}
    assert counts["confirm"].to_dict() == {"small": 6, "large": 6, "noisy": 6}


def test_killed_while_a_failure_is_recorded(searches: Searches) -> None:
    (searches.log / "fail").touch()
    # one at a time: the event of a failure is half written when the kill comes, its row is whole
    assert "/ledger/" in searches.kill_at("ledger@.failed.", "search", "spaces/tiny.py", "--max-concurrent", "1")
    before = searches.stored("tiny")
    code, out, err = searches.run("search", "spaces/tiny.py")
    assert (code, err) == (3, ""), out
    failed, stored, trained = searches.results("tiny"), searches.stored("tiny"), searches.trained()
    assert set(failed[failed["arm"] == "noisy"]["status"]) == {"failed"}
    assert before.items() <= stored.items()
    assert len(trained) == len(set(trained))
    (searches.log / "fail").unlink()
    code, out, err = searches.run("search", "spaces/tiny.py")
    assert (code, err) == (0, ""), out
    results, new = searches.results("tiny"), searches.trained()[len(trained) :]
    assert set(results["status"]) == {"completed"}
    assert set(results[results["arm"] == "noisy"]["witness"]) == set(new)
    assert not set(new) & set(stored)


def test_a_damaged_file_of_a_finished_search_then_begun_anew(
    searches: Searches, whole: tuple[Searches, str, str]
) -> None:
    run = searches.copy_run(whole[0])
    broken, lost = members_file(searches, "search")
    broken.write_bytes(broken.read_bytes()[:100])
    code, out, err = searches.run(*SEARCH)
    assert (code, err) == (0, ""), out
    assert broken.name in out
    assert sorted(searches.trained()) == sorted(lost)
    assert_as_if_nothing_had_been(searches, whole[0])
    changes = (
        "epochs=2",
        "noisy.batch_size=50",
        "--num-samples",
        "1",
        "--confirm-blocks",
        "1",
        "--block-seeds",
        "1",
        "--fresh",
    )
    code, out, err = searches.run(*SEARCH, *changes)
    assert (code, err) == (0, ""), out
    results = searches.results("tiny")
    assert len(results) == 3, "one configuration is confirmed at once"
    assert set(results["epochs"]) == {2.0}
    assert json.loads((run / "space.json").read_text())["block_seeds"] == 1

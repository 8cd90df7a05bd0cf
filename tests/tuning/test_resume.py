"""A search that is killed, fails or is damaged: the same command trains exactly what is missing.

Members are counted where they are trained, by a metric of the tiny space that writes down the weights of every member it
sees (tests/searching.py): a member trained twice is there twice. What else may happen, and when: test_resume_exhaustively.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.searching import SEARCH, Searches, assert_kills_cost_no_result, members_file

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes to kill through /proc"),
]

MOMENTS = (
    ("ledger@.proposed.1.json", "/ledger/"),
    ("step@step 3 of", "step 3 of"),
    ("report@.search.", ".search."),
    ("rename@.confirm.0.members", "/trials/"),
)
"""One of each kind: a ledger event half written, in training, stored and not reported, a file whole and without its name."""

OTHERWISE = {"step@step 3 of": "SIGTERM", "report@.search.": "head"}
"""What does not die by SIGKILL: SIGTERM to every process, SIGKILL to Ray's head process alone."""


def test_ended_at_every_kind_of_dangerous_moment(searches: Searches, whole: tuple[Searches, str, str]) -> None:
    assert_kills_cost_no_result(searches, whole[0], MOMENTS, num_workers=1, otherwise=OTHERWISE)


@pytest.mark.soak
def test_failed_and_damaged_members_are_trained_again_and_only_they(searches: Searches) -> None:
    """First by retry, which trains those that failed and nothing else; then by the same command, which trains what is missing."""
    words = ("search", "spaces/tiny.py", "--max-concurrent", "1")
    log_to = ("--log-to", "tensorboard")
    (searches.log / "fail").touch()
    code, out, err = searches.run(*words, *log_to)
    assert (code, err) == (3, ""), out
    (line,) = [line for line in out.splitlines() if line.startswith("failed: ")]
    assert line.startswith("failed: arm 'noisy': RuntimeError: told to fail (")
    assert "the same command trains them again (they alone: python -m tune_lb retry tiny)" in out
    failed, stored, trained = searches.results("tiny"), searches.stored("tiny"), searches.trained()
    assert set(failed[failed["arm"] == "noisy"]["status"]) == {"failed"}
    assert set(failed[failed["arm"] != "noisy"]["status"]) == {"completed"}
    assert {"confirm"} <= set(failed[failed["arm"] == "large"]["stage"])
    assert sorted(trained) == sorted(stored)

    (searches.log / "fail").unlink()
    run = searches.folder / "runs" / "tiny"
    broken, lost = members_file(searches, "search", "large")
    broken.write_bytes(broken.read_bytes()[:100])
    (run / "ray" / "state").mkdir(parents=True)
    code, out, err = searches.run("retry", "tiny")
    assert (code, err) == (0, ""), out
    assert "failed before (2): arm 'noisy': RuntimeError: told to fail (" in out
    assert broken.name in out
    assert "it is set aside in" in out
    assert out.splitlines()[-1] == f"next: python -m tune_lb {' '.join(words)}"
    again, between = searches.trained()[len(trained) :], searches.results("tiny")
    assert sorted(again) == sorted(between[between["arm"] == "noisy"]["witness"])
    assert len(again) == 2, "its search, of which the other stages follow"
    assert "no member of" in searches.run("retry", "tiny")[1]

    code, out, err = searches.run(*words, *log_to)
    assert (code, err) == (0, ""), out
    assert not (run / "ray").exists()
    results, new = searches.results("tiny"), searches.trained()[len(trained) :]
    assert set(results["status"]) == {"completed"}
    assert lost
    assert sorted(new) == sorted([*results[results["arm"] == "noisy"]["witness"], *lost])
    logged = [path.name for path in (run / "export" / "tensorboard").glob("*/*")]
    assert sorted(logged) == sorted(f"{trial_id}.{seed}" for trial_id, seed in results.index), "each member once"
    columns = ["witness", "test_error", "stage"]
    pd.testing.assert_frame_equal(
        results[results["arm"] != "noisy"][columns], failed[failed["arm"] != "noisy"][columns], check_exact=True
    )


def test_the_same_command_of_a_finished_search_trains_nothing(
    searches: Searches, whole: tuple[Searches, str, str]
) -> None:
    searches.copy_run(whole[0])
    code, out, err = searches.run(*SEARCH, "--json")
    assert code == 0, err
    assert json.loads(out)["status"] == "done"
    assert searches.trained() == []

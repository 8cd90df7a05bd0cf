"""list, stop and remove: what there is in a storage, and ending or deleting it from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Called, call  # noqa: F401  (a fixture)
from tests.faults.small_runs import FILE as TINY
from tests.faults.small_runs import search
from tests.faults.test_damaged_files import cut
from tests.killing import REPOSITORY
from tune_lb.results.lock import FILE

HOLD = """
import sys, time
from tune_lb.results.lock import held
from tune_lb.results.storage import Store
from tune_lb.tuning.signals import sigterm_interrupts
try:
    with sigterm_interrupts(), held(Store(sys.argv[1]), print):
        print("held", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def searching(run: Path) -> subprocess.Popen[str]:
    """A process that holds the run, and ends at SIGTERM as a search does."""
    words = [sys.executable, "-c", HOLD, str(run)]
    process = subprocess.Popen(
        words, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_stop_ends_a_search(run: Path, searching: subprocess.Popen[str], call: Called) -> None:  # noqa: F811
    code, out, _ = call("list", "--json")
    (row,) = json.loads(out)["runs"]
    assert (code, row["run"], row["members"]) == (0, "tiny", 12)
    assert f"process {searching.pid} on" in row["state"]
    code, _, err = call("remove", "tiny", "--yes")
    assert code == 2
    assert "`python -m tune_lb stop tiny" in err
    code, out, _ = call("stop", "tiny")
    assert code == 0
    assert "it has stopped; the same search command goes on" in out
    searching.communicate(timeout=30)
    assert searching.returncode == 130
    assert not (run / FILE).exists()
    code, out, _ = call("stop", "tiny")
    assert (code, out.splitlines()[0]) == (0, f"nobody searches {run}")


def test_remove_deletes_when_told_so(run: Path, call: Called) -> None:  # noqa: F811
    code, out, _ = call("remove", "tiny")
    assert (code, run.exists()) == (0, True)
    assert "nothing was deleted" in out
    assert "--yes" in out.splitlines()[-1]
    assert call("remove", "tiny", "--yes")[0] == 0
    assert not run.exists()
    assert call("remove", "tiny", "--yes")[0] == 2
    assert "no runs in" in call("list")[1]


def test_list_shows_the_answer_and_what_is_damaged(run: Path, call: Called) -> None:  # noqa: F811
    (run / "report").mkdir()
    (run / "report" / "report.md").write_text("# tiny\n\n## Answer\n\n* Nothing helps.\n* More.\n")
    out = call("list")[1]
    assert "Nothing helps." in out
    assert "at rest" in out
    cut(sorted(run.glob("trials/*.members.parquet"))[0])
    assert "something is damaged" in call("list")[1]
    cut(run / "space.json")
    code, out, _ = call("list")
    assert code == 0
    assert "space.json is damaged" in out


def test_watching_goes_on_until_the_search_ends(
    run: Path,
    searching: subprocess.Popen[str],
    call: Called,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            searching.terminate()
            searching.communicate(timeout=30)

    monkeypatch.setattr("tune_lb.cli.watch.sleep", wait)
    sorted(run.glob("trials/*.confirm.*.members.parquet"))[0].unlink()
    code, out, _ = call("status", "tiny", "--watch")
    lines = out.splitlines()
    assert code == 0
    assert {line.partition(",")[0] for line in lines[:3]} == {"11 of 12 members"}
    assert [seconds >= 60 for seconds in waited] == [True] * 3, "a line a minute"
    assert "being searched by" not in out
    assert lines[-1].startswith("next: python -m tune_lb search ")


def test_watching_draws_a_table_on_a_terminal(
    run: Path,
    searching: subprocess.Popen[str],
    call: Called,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wait(seconds: float) -> None:
        assert seconds < 30
        raise KeyboardInterrupt

    monkeypatch.setattr("tune_lb.cli.watch.sleep", wait)
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, _ = call("status", "tiny", "--watch")
    assert code == 0
    assert "best validation loss" in out
    assert "6 of 6" in out
    assert "being searched by" in out, "Ctrl-C ends the watching and not the search"
    searching.kill()
    searching.communicate(timeout=30)


def test_a_run_that_was_moved_or_copied_goes_on(run: Path, call: Called, tmp_path: Path) -> None:  # noqa: F811
    """Under another name in another storage: nothing that a run holds says where it lies."""
    place = tmp_path / "else where" / "ren\u00e4med"
    shutil.copytree(run, place)
    shutil.rmtree(run)
    where = ("--storage", str(place.parent))
    code, out, _ = call("status", place.name, *where)
    assert code == 0
    assert f"12 members in {place}: done" in out
    (broken,) = sorted(place.glob("trials/*.confirm.*.members.parquet"))[:1]
    broken.unlink()
    following = call("status", place.name, *where)[1].splitlines()[-1]
    assert following == f"next: python -m tune_lb search {TINY} --name 'ren\u00e4med' --storage '{place.parent}'"
    assert search(tmp_path, run=place).trained, "what is missing alone"
    assert call("check", place.name, *where)[0] == 0
    code, out, _ = call("report", place.name, *where)
    assert code == 0, out
    assert (place / "report" / "report.html").exists()


def test_retry_says_that_nothing_failed(run: Path, call: Called) -> None:  # noqa: F811
    code, out, _ = call("retry", "tiny")
    assert code == 0
    assert out.splitlines() == [
        f"no member of {run} failed",
        f"next: python -m tune_lb search {TINY} --name tiny",
    ]

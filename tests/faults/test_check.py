"""`check`: whole runs are whole, each kind of damage has its line and its exit code, and nothing is changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Called, call  # noqa: F401  (a fixture)
from tests.faults.small_runs import search
from tests.faults.test_damaged_files import KINDS, MADE_AGAIN, cut, flipped

ROOT = Path(__file__).parents[2]


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_whole_run(run: Path, call: Called) -> None:  # noqa: F811
    before = contents(run)
    code, out, err = call("check", "tiny", "--json")
    assert (code, json.loads(out)["whole"], json.loads(out)["damaged"]) == (0, True, [])
    assert json.loads(out)["without_checksum"] == 0
    assert json.loads(out)["files"] == len(before)
    assert f"{len(before)} files in {run}: whole" in err
    assert contents(run) == before


@pytest.mark.parametrize("pattern", [*KINDS.values(), *MADE_AGAIN.values()])
def test_each_damaged_file_has_its_line(pattern: str, run: Path, call: Called) -> None:  # noqa: F811
    path = sorted(run.glob(pattern))[-1]
    flipped(path)
    before = contents(run)
    code, out, _ = call("check", "tiny")
    assert code == 3
    assert out.splitlines()[0].startswith(f"{path.relative_to(run)} is damaged: ")
    assert "1 thing(s) are damaged" in out
    assert "next: " in out.splitlines()[-1]
    assert contents(run) == before


def test_files_that_are_whole_and_do_not_fit_together(run: Path, call: Called) -> None:  # noqa: F811
    path = sorted(run.glob("trials/*.confirm.*.members.parquet"))[0]
    stem = path.name.removesuffix(".members.parquet")
    sorted(run.glob(f"trials/{stem}.history.parquet"))[0].rename(run / "kept")
    code, out, _ = call("check", "tiny")
    assert (code, out.splitlines()[0]) == (3, f"trials/{stem}.history.parquet is damaged: it is missing")
    for kind in ("members", "predictions"):
        (run / "trials" / f"{stem}.{kind}.parquet").unlink()
    code, out, _ = call("check", "tiny")
    assert code == 3
    rows = len(pd.read_parquet(run / "results"))
    assert f"results/members.parquet is damaged: it has other rows than the trials ({rows}, not {rows - 1})" in out
    assert "history/history.parquet is damaged: it has other rows" in out


def test_a_run_of_before_checksums(tmp_path: Path, call: Called) -> None:  # noqa: F811
    shutil.copytree(ROOT / "docs" / "results" / "quickstart", tmp_path / "runs" / "old")
    code, out, _ = call("check", "old")
    assert code == 0, out
    assert "carry no checksum" in out
    cut(tmp_path / "runs" / "old" / "results" / "members.parquet")
    code, out, _ = call("check", "old")
    assert code == 3
    assert out.startswith("results/members.parquet is damaged: not a whole Parquet file")


def test_what_search_mends_is_whole_afterwards(run: Path, call: Called) -> None:  # noqa: F811
    for pattern in KINDS.values():
        flipped(sorted(run.glob(pattern))[0])
    assert call("check", "tiny")[0] == 3
    search(run.parent.parent)
    assert call("check", "tiny")[0] == 0

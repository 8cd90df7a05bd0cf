"""A finished run on storage that cannot be written: what only reads works, what writes says so, and --out writes elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.conftest import Called, call  # noqa: F401  (a fixture)


@pytest.fixture
def read_only(run: Path) -> Iterator[Path]:
    """The run on a file system that is mounted read-only, which binds the superuser as well."""
    storage = str(run.parent)
    for words in (["--bind", storage, storage], ["-o", "remount,ro,bind", storage]):
        if subprocess.run(["mount", *words], capture_output=True, check=False).returncode:
            pytest.skip("mounting is not allowed here")
    yield run
    subprocess.run(["umount", storage], check=True)


def test_status_check_and_best_only_read(read_only: Path, call: Called) -> None:  # noqa: F811
    for words in (("status", "tiny"), ("check", "tiny"), ("best", "tiny", "small")):
        code, out, err = call(*words)
        assert (code, err) == (0, ""), out


def test_report_shows_the_answer_and_writes_where_it_is_told(read_only: Path, call: Called, tmp_path: Path) -> None:  # noqa: F811
    code, out, err = call("report", "tiny")
    assert (code, err) == (1, "")
    assert "small" in out
    (line,) = [line for line in out.splitlines() if line.startswith("the report was not written: ")]
    assert "Read-only file system" in line
    assert "--out FOLDER" in line
    code, out, err = call("report", "tiny", "--out", "elsewhere")
    assert (code, err) == (0, "")
    assert (tmp_path / "elsewhere" / "report.md").exists()


def test_measure_says_so_first_and_stores_where_it_is_told(read_only: Path, call: Called, tmp_path: Path) -> None:  # noqa: F811
    code, _, err = call("measure", "tiny", "--metric", "margin")
    assert code == 2
    assert err.startswith("error: measure stores what it finds: storage: cannot write ")
    assert "--out FOLDER" in err
    code, out, err = call("measure", "tiny", "--metric", "margin", "--out", "elsewhere")
    assert (code, err) == (0, "")
    found = pd.concat(pd.read_parquet(file) for file in (tmp_path / "elsewhere" / "tiny" / "measurements").iterdir())
    assert found["margin"].notna().sum() == len(found) == 4
    assert str(tmp_path / "elsewhere" / "tiny" / "measurements") in out


def test_search_is_refused_in_a_line(read_only: Path, call: Called) -> None:  # noqa: F811
    code, _, err = call("search", str(Path(__file__).with_name("tiny_space.py")), "--name", "tiny")
    assert code == 2
    (line,) = err.splitlines()
    assert "Read-only file system" in line

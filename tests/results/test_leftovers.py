"""Temporary files of killed writers go at the next call, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

from tests.killing import kill_at
from tune_lb.results.leftovers import delete_left_over
from tune_lb.results.storage import Store


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    run = Store(tmp_path / "run")
    run.write("trials/a.parquet", b"old")
    code = f"from tune_lb.results.storage import Store; Store({run.location!r}).write('trials/a.parquet', b'new')"
    kill_at("rename@a.parquet", code, tmp_path)
    assert len(os.listdir(tmp_path / "run" / "trials")) == 2
    (removed,) = delete_left_over(run, run.check_writable())
    assert removed.startswith("trials/.a.parquet.")
    assert os.listdir(tmp_path / "run" / "trials") == ["a.parquet"]


def test_only_ours_and_only_what_is_older_than_the_call(tmp_path: Path) -> None:
    run = Store(tmp_path)
    kept = (".a.parquet.0123", ".hidden", "a.0123456789ab", ".DS_Store.backup", "writable-x")
    ours = (".space.json.0123456789ab", "writable-0123456789ab")
    for name in (*kept, *ours):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (1_000, 1_000))
    started_s = run.check_writable()
    assert started_s is not None
    young = tmp_path / "trials" / ".b.parquet.0123456789ab"
    young.parent.mkdir()
    young.write_bytes(b"of a writer at work")
    os.utime(young, (started_s + 0.5, started_s + 0.5))
    assert delete_left_over(run, None) == []
    assert delete_left_over(run, started_s) == sorted(ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "trials"])
    assert young.exists()


def test_a_run_that_is_not_there_has_nothing_left_over(tmp_path: Path) -> None:
    assert delete_left_over(Store(tmp_path / "nowhere"), 1e12) == []
    assert delete_left_over(Store("mock:///bucket/run"), 1e12) == []

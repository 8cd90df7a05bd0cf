"""Plain progress: few lines, and one for every stage that ends."""

from __future__ import annotations

import pickle

import pytest

from tune_lb.cli.output import Output
from tune_lb.cli.progress import Progress
from tune_lb.search.planner import ArmProgress
from tune_lb.tuning.progress import SearchProgress


def snapshot(elapsed_s: float, done: int, stage: str = "search") -> SearchProgress:
    arm = ArmProgress("sam", "arm", stage, done, 20, 0.05)
    return SearchProgress(elapsed_s, 100.0 - elapsed_s, done, 20, 2, 1, [arm], in_percent=True)


def test_plain_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(Output(False), line_every_s=10.0) as progress:
        for second in range(60):
            progress(snapshot(float(second), second // 6))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert " ".join(lines[0].split()) == "10 s 1 of 20 members, 2 running, 1 failed, about 1 min 30 s left"


def test_stage_that_ends_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(Output(False), line_every_s=4.0) as progress:
        for second, stage in enumerate(["search", "search", "confirm", "confirm", "confirm", "done", "done", "done"]):
            progress(snapshot(float(second), second, stage))
        progress(snapshot(8.0, 20, "done"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition("; ")[2] for line in lines] == ["sam: search done", "sam: confirm done"]


def test_plain_lines_come_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(Output(False)) as progress:
        for second in range(0, 600, 5):
            progress(snapshot(float(second), second // 60))
    assert len(capsys.readouterr().out.splitlines()) == 9


def test_live_table_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with Progress(Output(False)) as progress:
        progress(snapshot(30.0, 5))
    text = capsys.readouterr().out
    assert "5 of 20" in text
    assert "5.00 %" in text


def test_progress_can_be_pickled() -> None:
    assert isinstance(pickle.loads(pickle.dumps(Progress(Output(False)))), Progress)

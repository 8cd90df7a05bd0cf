"""The table of arms is whole at any width."""

from __future__ import annotations

from typing import Any

import pytest

from tests.analysis.fabrication import ARMS, Procedure, fabricate
from tune_lb.cli.arms import show_arms
from tune_lb.cli.output import Output


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    from analysis.results import Results
    from analysis.summary import summary

    found: list[dict[str, Any]] = summary(Results(fabricate(ARMS, Procedure(num_samples=4, confirm_blocks=3))))["rows"]
    return found


def shown(
    rows: list[dict[str, Any]], width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    show_arms(Output(False), rows)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 100, 120, 160, 220])
def test_nothing_is_cut_off(
    width: int, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(rows, width, monkeypatch, capsys)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = text.split()
    for row in rows:
        for title in ("arm", "n", "gap, points", "train loss", "lambda_max", "updates", "gradient evaluations"):
            assert set(str(row["cells"][title]).split()) <= set(words)


def test_wide_window_has_one_table(
    rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = [shown(rows, width, monkeypatch, capsys).count("─" * 10 + "\n") for width in (220, 120)]
    assert heads == [1, 2]


def test_long_reasons_stand_below_once(
    rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "no drop to close (0.1 [-0.2, 0.4])"
    without = [{**row, "gap_closed": None, "cells": {**row["cells"], "gap closed": reason}} for row in rows]
    text = shown(without, 120, monkeypatch, capsys)
    assert text.count(reason) == 1
    assert text.count("(1)") == len(rows) + 1


def test_sharpness_that_was_not_measured_has_no_column(
    rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without = [{**row, "cells": {**row["cells"], "lambda_max": "-", "Keskar 1e-3": "-"}} for row in rows]
    whole, less = shown(rows, 220, monkeypatch, capsys), shown(without, 220, monkeypatch, capsys)
    for word in ("lambda_max", "Keskar  ", "Metric 2.1"):
        assert word in whole
        assert word not in less
    one = [without[0], {**without[1], "cells": {**without[1]["cells"], "lambda_max": "3.1"}}]
    assert "lambda_max" in shown(one, 220, monkeypatch, capsys)


def test_placebo_is_marked(
    rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(rows, 120, monkeypatch, capsys).splitlines()
    assert sum(line.startswith("placebo ") for line in lines) == 2


def test_lines_are_never_broken(capsys: pytest.CaptureFixture[str]) -> None:
    Output(False).line("x" * 300)
    assert capsys.readouterr().out == "x" * 300 + "\n"

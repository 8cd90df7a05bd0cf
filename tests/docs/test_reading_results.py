"""What the examples with polars and duckdb come to is what the tables of the analysis say."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from tests.docs.blocks import ROOT, block_with, saved

PAGE = ROOT / "docs" / "reading_results.md"


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def arms():
    return analysis.load(ROOT / "docs" / "results" / "quickstart").arms.set_index("arm")


@pytest.mark.usefixtures("in_root")
def test_polars_has_the_errors_of_the_arms(folder: Path, arms) -> None:
    pytest.importorskip("polars", reason="pip install polars")
    found = saved(block_with(PAGE, "import polars as pl"), folder, "with_polars").by_arm
    errors = dict(zip(found["arm"], found["test_error"], strict=True))
    assert errors == pytest.approx(arms["test_error"].to_dict())
    assert set(found["blocks"]) == {24}


@pytest.mark.usefixtures("in_root")
def test_duckdb_has_the_differences_and_the_last_losses(folder: Path, arms) -> None:
    pytest.importorskip("duckdb", reason="pip install duckdb")
    shown = saved(block_with(PAGE, "import duckdb"), folder, "with_duckdb")
    points = shown.differences.set_index("arm")["points"]
    assert (points / 100).to_dict() == pytest.approx(arms["difference"].dropna().to_dict(), abs=1e-12)
    results = analysis.load(ROOT / "docs" / "results" / "quickstart")
    confirmed = results.confirmed[["trial_id", "seed", "arm"]]
    history = results.history.query("name == 'train_loss'").sort_values("step")
    last = history.merge(confirmed, on=["trial_id", "seed"]).groupby(["arm", "trial_id", "seed"])["value"].last()
    assert shown.last_loss.set_index("arm")["train_loss"].to_dict() == pytest.approx(
        last.groupby("arm").mean().to_dict()
    )


@pytest.mark.usefixtures("in_root")
def test_two_runs_that_cannot_be_paired_say_why(folder: Path) -> None:
    shown = saved(block_with(PAGE, "both = analysis.load(RUNS)"), folder, "two_runs")
    (why,) = shown.both.not_paired
    assert "other sizes (train/validation/test: 10,000/0/10,000 in keskar_f1, 2,000/0/10,000 in walk_mlp)" in why
    assert shown.both.arms["large_batch_drop"].notna().sum() == 5

"""What the figures of a run of blocks show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis import figures
from analysis.canvas import Inks, png
from analysis.drawing import draw
from analysis.results import Results
from tests.analysis.fabrication import ARMS, Arm, Procedure, fabricate


@pytest.fixture(scope="module")
def results() -> Results:
    return Results(fabricate())


def test_arms_have_both_intervals_of_their_difference(results: Results) -> None:
    info = figures.arm_errors(results)
    assert info is not None
    row, table = info.arms.set_index("arm").loc["sam"], results.arms.set_index("arm").loc["sam"]
    for shown, column in (
        ("difference_low", "difference_low"),
        ("difference_high", "difference_high"),
        ("inner_low", "difference_recipe_low"),
        ("inner_high", "difference_recipe_high"),
        ("low", "test_error_low"),
    ):
        assert row[shown] == pytest.approx(100 * table[column])
    assert row["difference_low"] < row["inner_low"] < row["difference"] < row["inner_high"] < row["difference_high"]
    assert len(info.members) == 6 * 20
    assert info.title == "sam improves on large_batch"
    assert info.floor == pytest.approx(100 * abs(results.arms.set_index("arm").loc["placebo", "difference"]))
    assert info.arms.set_index("arm")["is_tested"].to_dict() == {arm: arm in ("sam", "null") for arm in ARMS}


def test_where_the_selection_is_not_known_the_recipes_interval_is_drawn() -> None:
    info = figures.arm_errors(Results(fabricate(ARMS, Procedure(candidates=1))))
    assert info is not None
    row = info.arms.set_index("arm").loc["sam"]
    assert np.isfinite(row["difference_low"])
    assert row["difference_low"] == row["inner_low"]
    assert info.title == "No remedy can be told from large_batch"


def test_without_remedies_the_title_is_the_drop() -> None:
    arms = {name: ARMS[name] for name in ("small_batch", "large_batch")}
    info = figures.arm_errors(Results(fabricate(arms)))
    assert info is not None
    assert info.title == "large_batch differs from small_batch"


def test_search_curves_are_of_the_validation_loss(results: Results) -> None:
    info = figures.search_curves(results)
    assert info is not None
    assert info.label == "validation loss of the best, nats"
    last = info.lines.query("arm == 'sam' and k == 12")["value"].iloc[0]
    assert last == results.members.query("arm == 'sam' and stage == 'search'")["validation_loss"].min()
    unfinished = results.arms.loc[results.arms["search_converged"].eq(False).fillna(False), "arm"]
    assert all(arm in info.title for arm in unfinished)


def test_correlations_in_titles_have_their_intervals(results: Results) -> None:
    info = figures.sharpness_and_gap(results)
    assert info is not None
    row = results.correlations.set_index("value").loc["lambda_max"]
    assert f"{row['with_gap']:+.2f} [{row['with_gap_low']:.2f}, {row['with_gap_high']:.2f}] over 6 arms" in info.title
    assert len(info.members) == 6 * 8


@pytest.mark.parametrize("name", ["test_error", "sharpness_and_gap", "sharpness_and_loss", "search"])
def test_figures_are_drawn(results: Results, name: str) -> None:
    info = figures.FIGURES[name](results)
    assert info is not None
    assert png(draw(info, Inks(results.arms))).startswith(b"\x89PNG")


def test_before_the_first_confirm_member_there_are_search_curves_only() -> None:
    frames = fabricate({"large_batch": Arm(0.05, "reference"), "other": Arm(0.045)})
    begun = Results(replace(frames, members=frames.members[frames.members["stage"] == "search"]))
    shown = {name: show(begun) for name, show in figures.FIGURES.items()}
    assert [name for name, info in shown.items() if info is not None] == ["search"]

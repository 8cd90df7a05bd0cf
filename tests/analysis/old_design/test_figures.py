from __future__ import annotations

import numpy as np
import pytest

from analysis import drawing
from analysis.canvas import Inks, leading, png, tick
from analysis.figure_kinds import _span
from analysis.old_design import figures
from analysis.old_design.results import OldResults
from tests.analysis.old_design.fabrication import ARMS, Arm, Procedure, fabricate


def test_arm_errors_are_in_percent_with_the_headline_interval(results: OldResults) -> None:
    info = figures.arm_errors(results)
    assert info is not None
    row, table = info.arms.set_index("arm").loc["sam"], results.arms.set_index("arm").loc["sam"]
    assert (row["mean"], row["low"]) == pytest.approx((100 * table["test_error"], 100 * table["test_error_low"]))
    assert info.floor == pytest.approx(100 * abs(results.arms.set_index("arm").loc["placebo", "difference"]))
    assert len(info.members) == 144
    assert info.title == "sam improves on large_batch"
    assert info.rows["small_batch"] == 5


def test_with_tpe_the_interval_is_over_seeds_only() -> None:
    info = figures.arm_errors(OldResults(fabricate(ARMS, Procedure(sampler="tpe"))))
    assert info is not None
    assert "interval over seeds only" in info.note
    assert info.arms["low"].notna().all()


def test_scatter_has_every_confirmed_member_and_geometric_means(results: OldResults) -> None:
    info = figures.sharpness_and_loss(results)
    assert info is not None
    rows = info.members[info.members["arm"] == "sam"]
    mean = info.means.set_index("arm").loc["sam"]
    assert len(rows) == 24
    assert mean["x"] == pytest.approx(np.exp(np.log(rows["x"]).mean()))
    assert "rank correlation" in info.title


def test_history_has_mean_and_range_over_confirmed_members(stored: OldResults) -> None:
    info = figures.history_curves(stored)
    assert info is not None
    assert set(info.panels) == {"train_loss", "validation_error"}
    trials = stored.confirmed.loc[stored.confirmed["arm"] == "sam", "trial_id"]
    rows = stored.history[stored.history["trial_id"].isin(trials) & (stored.history["seed"] >= 2000)]
    expected = 100 * rows[(rows["name"] == "validation_error") & (rows["epoch"] == 20)]["value"]
    line = info.lines.query("arm == 'sam' and name == 'validation_error' and epoch == 20").iloc[0]
    assert (line["mean"], line["high"], line["n"]) == pytest.approx((expected.mean(), expected.max(), 24))


def test_search_curves_name_what_still_gains(results: OldResults) -> None:
    info = figures.search_curves(results)
    assert info is not None
    unfinished = results.arms.loc[results.arms["search_converged"].eq(False).fillna(False), "arm"]
    assert all(arm in info.title for arm in unfinished)


def test_diverged_members_do_not_stretch_the_axis() -> None:
    frames = fabricate(ARMS, Procedure())
    lost = frames.members.index[(frames.members["arm"] == "sam") & (frames.members["stage"] == "confirm")][:1]
    frames.members.loc[lost, "status"] = "diverged"
    results = OldResults(frames)
    info = figures.arm_errors(results)
    assert info is not None
    assert info.error_span[1] < 10
    assert info.difference_span[1] < 5
    drawn = drawing.arm_errors(info, Inks(results.arms))
    assert drawn is not None
    assert png(drawn).startswith(b"\x89PNG")


def test_an_arm_far_beyond_the_others_does_not_stretch_the_axis() -> None:
    usual, bad = (OldResults(fabricate({**ARMS, "large_batch_copied": Arm(e, "copied")})) for e in (0.065, 0.3))
    infos = [figures.arm_errors(results) for results in (usual, bad)]
    assert [info.beyond for info in infos if info] == [[], ["large_batch_copied"]]
    near, far = (info for info in infos if info)
    assert far.error_span[1] < near.error_span[1] < 10
    assert far.difference_span[1] < near.difference_span[1] < 5
    drawn = drawing.arm_errors(far, Inks(bad.arms))
    assert drawn is not None
    texts = [[text.get_text() for text in axes.texts] for axes in drawn.axes]
    mean = bad.arms.set_index("arm").loc["large_batch_copied"]
    # where it is can be read
    assert f"{100 * mean['test_error']:.2f}" in texts[0]
    assert f"{100 * mean['difference']:+.2f}" in texts[1]


def test_baseline_and_reference_are_always_on_the_axis() -> None:
    info = figures.arm_errors(OldResults(fabricate({**ARMS, "large_batch": Arm(0.3, "reference")})))
    assert info is not None
    assert "large_batch" not in info.beyond
    assert info.error_span[1] > 30


def test_long_intervals_are_cut() -> None:
    assert _span(np.array([2.0, 4.0]), np.array([1.0, 30.0])) == pytest.approx((0.9, 6.1))
    assert _span(np.array([]), np.array([])) == (0.0, 1.0)


def test_arms_differ_in_colour_and_marker(results: OldResults) -> None:
    inks = Inks(results.arms)
    looks = [(inks.colour[arm], inks.marker[arm]) for arm in results.arms["arm"]]
    assert len(set(looks)) == len({colour for colour, _ in looks}) == len(looks)


def test_ticks() -> None:
    assert [tick(v) for v in (0.05, 2.0, 1e-5, 100.0)] == ["0.05", "2", "1e-05", "100"]
    assert [leading(v) for v in (0.05, 2.0, 1e-4, 300.0)] == [5, 2, 1, 3]

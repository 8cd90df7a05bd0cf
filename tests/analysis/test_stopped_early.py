"""What is said of searches that stopped configurations early, beside the same search without."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.frames import Frames
from analysis.importance import importances
from analysis.plots.choice import Missing
from analysis.plots.tuning import tuning_curves
from analysis.report_tables import adequacy_table
from analysis.results import Results
from analysis.sentences import sentences
from tests.analysis.fabrication import ARMS, Arm, Procedure, fabricate

UNSEEN = ["test_error", "test_loss", "train_error", "train_loss", "generalization_gap"]
DOMAIN = {"low": 0.05, "high": 0.5, "log": True}
WIDE = {**ARMS, "sam": Arm(0.03, dimensions={"sam.rho": DOMAIN})}


def fabricated() -> Frames:
    frames = fabricate(WIDE, Procedure(num_samples=12))
    radii = np.random.default_rng(0).uniform(0.05, 0.5, len(frames.members))
    return dataclasses.replace(frames, members=frames.members.assign(**{"sam.rho": radii}))


@pytest.fixture(scope="module")
def whole() -> Results:
    return Results(fabricated())


@pytest.fixture(scope="module")
def halved(whole: Results) -> Results:
    """The same run, in which the worse half of every search was stopped after half of its training."""
    frames = fabricated()
    members = frames.members.copy()
    searched = members["stage"] == "search"
    members.loc[searched, "look1.validation_loss"] = members["validation_loss"]
    members.loc[searched, "look1.validation_error"] = members["validation_error"]
    ranks = members[searched].groupby("arm")["validation_loss"].rank(method="first")
    stopped = ranks.index[ranks > 6]
    members.loc[stopped, "status"] = "stopped"
    members.loc[stopped, "stopped_at"] = 10.0
    members.loc[stopped, "validation_loss"] *= 1.5
    members.loc[stopped, [name for name in UNSEEN if name in members]] = np.nan
    members.loc[stopped, "gradient_evaluations"] = members["gradient_evaluations"] // 2
    space = frames.space | {"stopping": {"factor": 2.0, "grace": 0.5, "looks": [0.5]}, "exchangeable": False}
    return Results(dataclasses.replace(frames, space=space, members=members))


def test_it_is_said_with_its_numbers(halved: Results) -> None:
    number = int((halved.members["stage"] == "search").sum())
    (line,) = [line for line in sentences(halved) if "stopped early" in line]
    assert line.startswith(f"{number // 2} of {number} configurations were stopped early, after 50 % of the training")
    assert "compared at equal gradient evaluations" in line
    assert "confirmed was trained in full" in line
    assert not any("proposes from what it has seen" in line for line in sentences(halved))
    assert not any("Budgets are unequal" in line for line in sentences(halved))


def test_what_is_confirmed_and_decided_is_what_it_was(halved: Results, whole: Results) -> None:
    columns = ["arm", "n", "test_error", "difference", "difference_recipe_low", "num_points", "large_batch_drop"]
    pd.testing.assert_frame_equal(halved.arms[columns], whole.arms[columns])
    assert {arm: found.candidates for arm, found in halved.decisions.items()} == {
        arm: found.candidates for arm, found in whole.decisions.items()
    }


def test_configurations_that_were_stopped_are_in_no_rank(halved: Results) -> None:
    table = halved.configurations
    stopped = table[table["n_stopped"] == 1]
    assert len(stopped) == int((halved.members["status"] == "stopped").sum())
    assert (table["n_failed"] == 0).all()
    assert set(stopped["stopped_at"]) == {10.0}
    assert set(stopped["n_search"]) == {0}
    assert stopped[["search_rank", "search_validation_loss", "test_error", "validation_loss"]].isna().all().all()


def test_the_searches_table_counts_them(halved: Results) -> None:
    arms = halved.arms.set_index("arm")
    assert arms.loc["sam", ["median_test_error", "share_beating_reference", "search_gain"]].isna().all()
    rows = {row["arm"]: row for row in adequacy_table(halved).rows}
    assert (rows["sam"]["points"], rows["sam"]["stopped early"]) == ("12", "6")
    own = halved.members.query("arm == 'sam' and stage == 'search'")["gradient_evaluations"]
    assert rows["sam"]["gradient evaluations of the search"] == f"{int(own.sum()):,}"


def test_importances_are_of_all_points_at_the_first_look(halved: Results, whole: Results) -> None:
    pytest.importorskip("sklearn")
    found = importances(halved.members, halved.asked)
    # at the look each had the loss that it has at its end in the whole search
    expected = importances(whole.members, whole.asked)
    assert set(found["n"]) == {12}
    assert len(found) == 2
    pd.testing.assert_frame_equal(found, expected)


def test_there_is_no_curve_of_the_best_of_k(halved: Results) -> None:
    assert halved.curves.empty
    with pytest.raises(Missing, match="stopped the worse configurations early"):
        tuning_curves(halved)

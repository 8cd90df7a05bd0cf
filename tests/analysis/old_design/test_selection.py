"""The selected trial of an arm, and the points that arms share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.asked import read_asked
from analysis.old_design.points import point_numbers, unit_coordinate
from analysis.old_design.selection import confirmed_trials, searched_arms
from tests.analysis.old_design.fabrication import Arm, Procedure, fabricate

TWO = {"reference": Arm(0.05, "reference"), "other": Arm(0.045, best=0.4)}


def test_points_are_matched_across_batch_sizes_by_rate() -> None:
    arms = {"small": Arm(0.03, "baseline", 20), "large": Arm(0.05, "reference", 400), "placebo": Arm(0.05, "placebo")}
    frames = fabricate(arms, Procedure(num_trials=5, split_seeds=(0, 1)))
    asked = read_asked(frames.space)
    points = point_numbers(frames.members, asked)
    for i in range(5):
        assert len({points[f"{arm}-{split}-{i:02d}"] for arm in ("small", "large") for split in (0, 1)}) == 1
        assert points[f"placebo-0-{i:02d}"] != points[f"small-0-{i:02d}"]


def test_unit_coordinates() -> None:
    assert unit_coordinate(1e-2, {"low": 1e-4, "high": 1.0, "log": True}) == pytest.approx(0.5)
    assert unit_coordinate(2.0, {"low": 0.0, "high": 8.0}) == pytest.approx(0.25)
    assert unit_coordinate(50, {"values": [20, 50, 100]}) == 1.0
    assert unit_coordinate(3.0, {"low": 3, "high": 3}) == 0.0


def test_of_several_confirmed_trials_the_selected_one_counts() -> None:
    frames = fabricate(TWO, Procedure())
    members, asked = frames.members, read_asked(frames.space)
    chosen = confirmed_trials(members, asked).set_index("arm")["trial_id"]
    loser = members[(members["arm"] == "other") & (members["trial_id"] != chosen["other"])].iloc[:1]
    extended = pd.concat([members, loser.assign(stage="confirm", seed=2000)], ignore_index=True)
    before = extended[extended["stage"] != "confirm"].groupby("trial_id")["validation_error"].mean()
    best = min(chosen["other"], loser["trial_id"].iloc[0], key=lambda trial: before[trial])
    assert confirmed_trials(extended, asked).set_index("arm")["trial_id"]["other"] == best
    told = read_asked({**frames.space, "selected": {"other": {"0": loser["trial_id"].iloc[0]}}})
    assert confirmed_trials(extended, told).set_index("arm")["trial_id"]["other"] == loser["trial_id"].iloc[0]


def test_missing_seeds_are_left_out() -> None:
    frames = fabricate(TWO, Procedure())
    lost = (frames.members["arm"] == "other") & (frames.members["seed"] == 2003)
    found = searched_arms(frames.members[~lost], read_asked(frames.space))
    assert np.isnan(found["other"][0].confirm_test).sum() == 1
    assert found["other"][0].test_error == pytest.approx(np.nanmean(found["other"][0].confirm_test))

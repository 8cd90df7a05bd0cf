"""A12: selections between trials of equal validation error are seen, said, and decided by the validation loss."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.asked import Asked, read_asked
from analysis.frames import Frames
from analysis.old_design.results import OldResults
from analysis.old_design.selection import confirmed_trials, searched_arms
from analysis.old_design.sentences import sentences
from analysis.old_design.ties import tied_selections, trial_scores
from tests.analysis.old_design.fabrication import Arm, Procedure, fabricate


def easy(**space: object) -> tuple[Frames, Asked]:
    """Return a run in which every search member has validation error 0, and losses that tell trials apart."""
    frames = fabricate({"reference": Arm(0.05, "reference"), "other": Arm(0.045)}, Procedure())
    members = frames.members.copy()
    number = members["trial_id"].map({trial: i for i, trial in enumerate(sorted(members["trial_id"].unique()))})
    members["validation_error"], members["validation_loss"] = 0.0, 1.0 - number / 1000
    found = dataclasses.replace(frames, members=members, space={**frames.space, **space})
    return found, read_asked(found.space)


def test_ties_are_counted_and_said():
    frames, asked = easy(ties_decided=True)
    found = tied_selections(frames.members, asked, confirmed_trials(frames.members, asked))
    assert sorted(found["arm"]) == ["other", "reference"]
    assert (found["number"] > 1).all()
    said = [
        line
        for line in sentences(OldResults(frames))
        if line.startswith("Selected among trials of equal validation error")
    ]
    assert len(said) == 1
    assert said[0].endswith("; the lower validation loss decided.")
    before, _ = easy()
    assert any(line.endswith("; the first of them was taken.") for line in sentences(OldResults(before)))


def test_no_tie_is_not_said():
    frames = fabricate({"reference": Arm(0.05, "reference"), "other": Arm(0.045)}, Procedure())
    members = frames.members.assign(validation_error=np.random.default_rng(0).random(len(frames.members)))
    assert not any(
        "equal validation" in line for line in sentences(OldResults(dataclasses.replace(frames, members=members)))
    )


def test_the_bootstrap_reselects_as_the_search_selects():
    frames, asked = easy(ties_decided=True)
    arm = searched_arms(frames.members, asked)["other"][0]
    losses = frames.members[frames.members["stage"] != "confirm"].groupby("trial_id")["validation_loss"].mean()
    assert arm.tie.tolist() == pytest.approx(losses[list(arm.trial_ids)].tolist())


def test_selected_by_loss_a_trial_with_a_diverged_member_is_out():
    frames, asked = easy(select_by="loss", ties_decided=True)
    members = frames.members.copy()
    lost = members["trial_id"].eq(sorted(members["trial_id"])[0]) & members["seed"].eq(0)
    members.loc[lost, ["validation_loss", "status"]] = [np.nan, "diverged"]
    values = trial_scores(members, asked)["value"]
    assert np.isinf(values[members.loc[lost, "trial_id"].iloc[0]])
    assert np.isfinite(values).sum() == len(values) - 1

"""The best configurations of a run, as points for another space."""

from __future__ import annotations

import pytest

from tests.analysis.fabrication import ARMS, Procedure, fabricate, store_run
from tune_lb import points_of
from tune_lb.errors import RequestError


def test_they_are_the_lowest_losses_of_each_arms_search(tmp_path):
    frames = fabricate(ARMS, Procedure(num_samples=6))
    store_run(frames, str(tmp_path))
    found = points_of(tmp_path, best=2)
    rows = frames.members.query("stage == 'search' and arm == 'sam'").sort_values("validation_loss")
    names = next(arm["dimensions"] for arm in frames.space["arms"] if arm["name"] == "sam")
    own = [point for point in found if point["arm"] == "sam"]
    assert own == [{"arm": "sam", **{name: row[name] for name in names}} for row in rows.to_dict("records")[:2]]
    assert len(found) == 2 * sum(bool(arm["dimensions"]) and arm["num_samples"] > 0 for arm in frames.space["arms"])


def test_where_there_is_no_run_it_is_said(tmp_path):
    with pytest.raises(RequestError, match="there is no run in"):
        points_of(tmp_path / "nowhere")

"""Several runs as one: what they share is put together, what differs is said, and what cannot be compared is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import load
from analysis.__main__ import main
from analysis.figures import arm_errors
from analysis.loading import short_names
from analysis.old_design.results import OldResults
from analysis.pooled import pool
from analysis.results import Results
from analysis.several_runs import settings_that_differ
from analysis.summary import summary
from tests.analysis.fabrication import ARMS, Procedure, fabricate, store_run
from tests.analysis.old_design import fabrication as old
from tune_lb.errors import RequestError

SMALL = Procedure(num_samples=6, candidates=2, decide_blocks=2, confirm_blocks=4)
WHOLE = fabricate(ARMS, SMALL)


def described(**arms: dict[str, Any]) -> dict[str, str]:
    """What a space resolved to, as space.json has it: arm -> field -> value."""
    return {f"arm {arm}: {name}": json.dumps(value) for arm, of in arms.items() for name, value in of.items()}


def without(*arms: str, frames: Any = WHOLE, **changes: Any) -> Results:
    """The run without some of its arms, as if it had never had them; changes: of its space.json."""
    kept = [entry for entry in frames.space["arms"] if entry["name"] not in arms]
    selected = {arm: chosen for arm, chosen in frames.space["selected"].items() if arm not in arms}
    members = frames.members[~frames.members["arm"].isin(arms)].reset_index(drop=True)
    space = {**frames.space, "arms": kept, "selected": selected, **changes}
    return Results(replace(frames, space=space, members=members))


def test_a_run_in_two_parts_is_the_run() -> None:
    """Each part has baseline, reference and placebo, and one of the remedies."""
    found = pool({"a": without("null"), "b": without("sam")})
    assert set(found.arms["arm"]) == {"small_batch", "large_batch", "large_batch_copied", "placebo", "a/sam", "b/null"}
    whole, here = (
        Results(WHOLE).arms.set_index("arm"),
        found.arms.set_index("arm").rename(index=lambda n: n.split("/")[-1]),
    )
    for column in (
        "n",
        "test_error",
        "difference",
        "difference_recipe_low",
        "p_recipe",
        "lambda_max",
        "large_batch_drop",
        "num_points",
    ):
        expected = whole[column].astype(float)
        pd.testing.assert_series_equal(here[column].astype(float).loc[expected.index], expected)
    assert len(found.members) == len(WHOLE.members)
    assert found.shared == sum(len(WHOLE.members[WHOLE.members["arm"] == arm]) for arm in list(ARMS)[:4])
    # two arms are tested, as in the whole run: the intervals are those of a family of two
    assert found.comparison.family == ["a/sam", "b/null"]
    assert here.loc["sam", "difference_high"] < 0 < here.loc["null", "difference_high"]


def test_arms_that_are_not_the_same_stand_beside_each_other_paired_by_block() -> None:
    better = fabricate({**ARMS, "sam": replace(ARMS["sam"], error=0.02)}, SMALL)
    resolved = [
        described(sam={"remedies": [{"type": "tune_lb.remedies.SAM", "m": m}]}, large_batch={"lr": 0.1}) for m in (1, 2)
    ]
    runs = {"a": without(resolved=resolved[0]), "b": without(frames=better, resolved=resolved[1])}
    found = pool(runs)
    assert [arm for arm in found.arms["arm"] if "sam" in arm] == ["a/sam", "b/sam"]
    (row,) = settings_that_differ(runs)
    assert row == {"setting": "sam.m (sam)", "a": "1", "b": "2"}

    def by_block(frames: Any, arm: str) -> pd.Series:
        members = frames.members
        confirmed = (members["stage"] == "confirm") & (members["configuration_id"] == frames.space["selected"][arm])
        return members[confirmed].groupby("block")["test_error"].mean()

    d = by_block(better, "sam") - by_block(WHOLE, "large_batch")
    low, high = stats.t.interval(0.95, len(d) - 1, d.mean(), stats.sem(d))
    arm = found.arms.set_index("arm").loc["b/sam"]
    assert arm[["difference", "difference_recipe_low", "difference_recipe_high"]].tolist() == pytest.approx(
        [d.mean(), low, high]
    )
    # one trial of two arms is told apart
    assert found.members.groupby("trial_id")["arm"].nunique().max() == 1
    said = summary(found)["sentences"]
    assert said[0] == "The spaces of a and b differ in 1 setting (the first table)."
    assert "small_batch, large_batch, large_batch_copied, placebo and null" in said[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": {**WHOLE.space["data"], "num_train": 100}}, "other sizes (train/validation/test: 200/200/300 in a, 100/200/300"),
        ({"fresh_splits": False}, "only a cuts the data anew in every block"),
        ({"confirm_blocks": {"max_blocks": 4, "half_width": 0.2, "early": True}}, "arms of b stopped when they were told"),
    ],
)  # fmt: skip
def test_where_blocks_are_not_the_same_each_arm_stands_with_what_its_run_says(changes: Any, reason: str) -> None:
    runs = {"a": without("null"), "b": without("sam", **changes)}
    found = pool(runs)
    said = summary(found)["sentences"]
    assert any(reason in line for line in said)
    assert found.arms["arm"].str.contains("/").all()
    # no arm of one run is said to be better or worse than the reference of the other
    assert found.asked.reference is None
    drawn = arm_errors(found)
    assert drawn is not None
    assert drawn.title == "Test error after the search"
    assert drawn.note.endswith("Each from the reference of its own run.")
    own = pd.concat([run.arms.assign(arm=f"{name}/" + run.arms["arm"]) for name, run in runs.items()]).set_index("arm")
    for column in ("difference", "difference_high", "p_holm", "large_batch_drop"):
        assert found.arms.set_index("arm")[column].tolist() == pytest.approx(own[column].tolist(), nan_ok=True)
    assert sum(line.startswith("In a: ") for line in said) > 1


OTHER = {**WHOLE.space["data"], "name": "letters"}
PRINTS = [{**WHOLE.space["data"], "fingerprints": {"0": text}} for text in ("aa", "bb")]


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        (without(), without(data=OTHER), "their data are not the same: digits (10 classes) in a, letters (10 classes) in b"),
        (without(), without(error={"title": "mean squared error"}), "their errors are not the same: shares of misclassified"),
        (without(data=PRINTS[0]), without(data=PRINTS[1]), "not of the same content (fingerprint aa in a, fingerprint bb in b)"),
        (without(), OldResults(old.fabricate()), "b is of the old design"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_a_line(first: Any, second: Any, line: str) -> None:
    with pytest.raises(RequestError, match="runs a and b cannot be compared: ") as refused:
        pool({"a": first, "b": second})
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_metric_that_was_measured_otherwise_is_not_put_beside_it() -> None:
    members = WHOLE.members.assign(
        **{"lambda_max.batch_norm": WHOLE.members["lambda_max.batch_norm"].replace("recomputed", "running")}
    )
    found = pool({"a": without("null"), "b": without("sam", frames=replace(WHOLE, members=members))})
    levels = found.arms.set_index("arm")["lambda_max"]
    assert np.isfinite(levels["a/sam"])
    assert np.isnan(levels["b/null"])
    assert any(
        line.startswith("Not measured in the same way") and line.endswith("lambda_max.")
        for line in summary(found)["sentences"]
    )


def test_a_run_that_is_being_made_is_compared_as_far_as_it_is() -> None:
    part = replace(WHOLE, members=WHOLE.members.query("arm != 'sam' or stage == 'search'"))
    found = pool({"a": without("null"), "b": without("null", "placebo", frames=part, num_samples=7)})
    said = summary(found)["sentences"]
    assert any(line.startswith("In b: The run is not finished: 24 of 32 confirm members are there") for line in said)
    assert found.arms.set_index("arm")["n"].to_dict()["b/sam"] == 0


def test_names_tell_runs_apart() -> None:
    assert short_names(["a", "b"], ["/x/a", "/x/b"]) == ["a", "b"]
    assert short_names(["a", "a", "b"], ["/old/runs/a", "/new/runs/a", "/b"]) == ["old/runs/a", "new/runs/a", "b"]


def test_the_report_of_two_stored_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, left_out in (("one", "null"), ("two", "sam")):
        frames = without(left_out, name=name, num_samples=6 if name == "one" else 7).frames
        store_run(frames, str(tmp_path / name))
    words = ["one", "two", "--storage", str(tmp_path), "--no-figures", "--json"]
    assert main(words) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["paths"]["report.md"] == str(tmp_path / "one" / "report" / "with_two" / "report.md")
    text = Path(shown["paths"]["report.md"]).read_text()
    first, answer = text.index("## What differs between the runs"), text.index("## Answer")
    assert first < text.index("| num_samples | 6 | 7 |") < answer < text.index("## Each run by itself")
    # predictions of both: what other examples would move differences by is known of both
    arms = load(["one", "two"], tmp_path).arms.set_index("arm")
    assert np.isfinite(arms.loc[["one/sam", "two/null"], "examples_std"]).all()
    assert main(["one", "one", *words[2:]]) == 2
    assert capsys.readouterr().err.strip().endswith("is given twice: give each run once")

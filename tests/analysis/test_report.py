"""What the report of a run of blocks says, for runs whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from analysis.report import report_text
from analysis.results import Results
from analysis.sentences import sentences
from analysis.summary import summary
from tests.analysis.fabrication import ARMS, TRIED_LONGER, Arm, Procedure, fabricate


def text(results: Results) -> str:
    return "\n".join(sentences(results))


LONGER = {
    **ARMS,
    "large_batch_2x": TRIED_LONGER,
    "sam": replace(ARMS["sam"], matched_by="large_batch_2x"),
}


@pytest.fixture(scope="module")
def results() -> Results:
    return Results(fabricate(LONGER))


def test_a_real_remedy_is_claimed_and_a_null_one_is_not(results: Results) -> None:
    said = text(results)
    assert "sam lowers the test error, its search included: -1." in said
    assert "with the values that the search found the interval is" in said
    assert "Not claimed: null +0.00" in said
    assert "Against large_batch_2x, which spends as much" in said


def test_references_are_named_and_outside_of_the_family(results: Results) -> None:
    (line,) = (line for line in sentences(results) if line.startswith("References, outside of the family"))
    assert "large_batch_copied (at the baseline's rate)" in line
    assert "large_batch_2x (trained longer)" in line
    table = results.arms.set_index("arm")
    assert table.loc["large_batch_2x", "p_holm"] != table.loc["large_batch_2x", "p_holm"]
    assert table["claim"].notna().sum() == 2


def test_the_report_is_whole_and_json(results: Results) -> None:
    shown = summary(results)
    assert json.dumps(shown, allow_nan=False)
    written = report_text(results, shown, [])
    assert "nan" not in written.lower().split()
    for title in ("## Answer", "## Arms", "## Where the drop comes from", "## Sharpness", "## Decided configurations"):
        assert title in written
    assert shown["best"]["sam"]["searched"].keys() == {"eta_over_b", "sam.rho"}
    marks = {row["arm"]: row["mark"] for row in shown["rows"]}
    assert (marks["placebo"], marks["large_batch_2x"], marks["sam"], marks["null"]) == (
        "placebo",
        "trained longer",
        "claim",
        "",
    )


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.15, 0.4, 0.8, 0.95])
def test_partial_results_are_reported(kept: float) -> None:
    """Whatever members are there when somebody looks: from none to all but some of the last arm's."""
    frames = fabricate(ARMS, Procedure())
    members = frames.members.iloc[: int(kept * len(frames.members))]
    found = Results(replace(frames, members=members))
    shown = summary(found)
    assert json.dumps(shown, allow_nan=False)
    assert report_text(found, shown, [])
    assert [row["arm"] for row in shown["rows"]] == list(ARMS)
    unfinished = ("Not confirmed yet", "No arm is confirmed yet", "confirm blocks so far")
    assert any(words in line for words in unfinished for line in shown["sentences"])


def without(*names: str) -> dict[str, Arm]:
    return {name: arm for name, arm in ARMS.items() if name not in names}


@pytest.mark.parametrize(
    "arms",
    [
        without("small_batch", "large_batch_copied"),
        without("large_batch", "null"),
        without("placebo"),
        {"only": Arm(0.05)},
    ],
)
def test_spaces_without_some_roles_are_reported(arms: dict[str, Arm]) -> None:
    found = Results(fabricate(arms, Procedure(num_samples=4)))
    assert len(summary(found)["rows"]) == len(arms)
    assert text(found)

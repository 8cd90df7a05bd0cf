"""What the report of a run of blocks says, for runs whose truth is known."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.__main__ import main
from analysis.caveats import Caveat
from analysis.figures import FIGURES
from analysis.markdown import markdown
from analysis.report import report
from analysis.results import Results
from analysis.sentences import sentences
from analysis.summary import summary
from analysis.table_columns import described
from tests.analysis.fabrication import ARMS, TRIED_LONGER, Arm, Procedure, fabricate, store_run
from tune_lb.results.lock import held
from tune_lb.results.storage import Store


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
    written = markdown(report(results, shown, []))
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
    assert markdown(report(found, shown, []))
    assert [row["arm"] for row in shown["rows"]] == list(ARMS)
    unfinished = ("Not confirmed yet", "No arm is confirmed yet", "confirm blocks so far")
    assert any(words in line for words in unfinished for line in shown["sentences"])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As workers leave it, with history, predictions and which examples every cut tests."""
    folder = tmp_path_factory.mktemp("runs") / "fabricated"
    store_run(fabricate(ARMS, Procedure(num_samples=4, candidates=2, decide_blocks=2, confirm_blocks=4)), str(folder))
    return folder


@pytest.mark.slow
def test_a_stored_run_has_a_report_with_its_tables_and_figures(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([run_folder.name, "--storage", str(run_folder.parent), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["paths"]) == {
        "arms.parquet",
        "configurations.parquet",
        "report.html",
        "report.md",
        *(f"{n}.png" for n in (*FIGURES, "pareto", "tuning_curves")),
    }
    assert all(Path(path).stat().st_size > 0 for path in shown["paths"].values())
    results = load(run_folder)
    assert isinstance(results, Results)
    table = pd.read_parquet(run_folder / "report" / "arms.parquet")
    assert table["test_error"].tolist() == pytest.approx(results.arms["test_error"].tolist())
    assert np.isfinite(results.arms.set_index("arm").loc["sam", "examples_std"])
    assert "Other examples of the same kind would move the differences by" in "\n".join(shown["sentences"])
    for name in ("arms", "configurations"):
        columns = described(getattr(results, name), results.frames.descriptions, name).schema
        assert [field.name for field in columns if not (field.metadata or {}).get(b"description")] == []


def test_a_run_that_is_being_written_says_so(run_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    for file in (copy / "trials").glob("sam_*.confirm.*"):
        file.unlink()
    with held(Store(str(copy)), lambda reason: None):
        said = text(load(copy))
    assert "The run is being written: 40 of 48 confirm members are there" in said
    assert "The run is not finished: 40 of 48" in text(load(copy))


@pytest.mark.slow
def test_damaged_files_are_named_and_skipped(run_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    for broken in sorted((copy / "trials").glob("sam_*.confirm.*.members.parquet")):
        broken.write_bytes(broken.read_bytes()[:100])
    shown = summary(load(copy))
    assert any(broken.name in problem for problem in shown["problems"])
    assert [row["n"] for row in shown["rows"] if row["arm"] == "sam"] == [0]
    assert any("could not be used" in line for line in shown["sentences"])


@pytest.mark.parametrize("is_share", [True, False])
def test_intervals_wider_than_all_that_there_is_say_nothing(is_share: bool) -> None:
    """Two blocks of 5 and 95 points: t(0.975, 1) = 12.7, times the error 45, is 571.8 points to either side."""
    frames = fabricate(
        {n: ARMS[n] for n in ("small_batch", "large_batch", "sam")}, Procedure(num_samples=1, confirm_blocks=2)
    )
    members = frames.members
    errors = members["arm"].map({"small_batch": 0.03, "large_batch": 0.02, "sam": 0.07}).astype(float)
    members = members.assign(test_error=errors.mask((members["arm"] == "sam") & (members["block"] == 1), 0.97))
    found = Results(
        replace(frames, members=members, space=frames.space | {"error": {"title": "error", "is_share": is_share}})
    )
    row = next(row for row in summary(found)["rows"] if row["arm"] == "sam")
    assert row["difference_recipe_high"] == pytest.approx(0.5 + 12.7062 * 0.45, abs=1e-3)
    assert row["cells"]["these recipes"] == ("[cannot be told]" if is_share else "[-521.78, 621.78]")
    assert ("The interval of sam is wider than 100 points: 2 confirm blocks" in text(found)) == is_share


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


def test_an_extended_run_says_so() -> None:
    frames = fabricate()
    before = [{"at": "2026-01-01T00:00:00", "confirm_blocks": 6, "block_seeds": 2}]
    said = text(Results(replace(frames, space={**frames.space, "extended": before})))
    assert "The run was extended: it had been asked for with 6 confirm blocks before." in said
    assert "extended" not in text(Results(frames))
    before = [{"at": "2026-01-01T00:00:00", "num_samples": 2, "confirm_blocks": 99, "block_seeds": 1}]
    said = text(Results(replace(frames, space={**frames.space, "extended": before})))
    assert "The search was extended: it had been asked for with 2 configurations an arm before." in said
    assert "The run was extended" not in said


@pytest.mark.parametrize(("half_width", "reached"), [(0.5, "for all of them"), (0.1, "for all but sam")])
def test_blocks_until_a_width_say_whether_it_was_reached(half_width: float, reached: str) -> None:
    frames = fabricate()
    until = {"half_width": half_width, "max_blocks": 60, "early": False}
    said = text(Results(replace(frames, space={**frames.space, "confirm_blocks": until})))
    assert f"reach no further than {half_width:.2f} points, at most 60: that was reached {reached}." in said
    assert "Stopping at a width needs no correction" in said


def test_one_cut_of_the_data_is_said() -> None:
    said = text(Results(fabricate(ARMS, Procedure(fresh_splits=False))))
    assert "All blocks have one cut of the data" in said
    assert "All blocks have the same 300 test examples: the intervals are over seeds" in said


def test_a_placebo_that_differs_fails_the_check() -> None:
    said = text(Results(fabricate({**ARMS, "placebo": Arm(0.06, "placebo")})))
    assert "The check FAILS" in said


def test_what_the_recipes_show_alone_is_no_claim() -> None:
    """A difference that the recipes' interval shows and the procedure's does not."""
    noisy = Procedure(loss_noise=0.3, curvature=0.3, arm_block_std=0.0005, confirm_blocks=12)
    found = [Results(fabricate(ARMS | {"null": Arm(0.05)}, noisy, seed)) for seed in range(6)]
    said = [line for results in found for line in sentences(results)]
    assert any(line.startswith("With the values that the search found, null differs from large_batch") for line in said)
    assert not any(line.startswith("null lowers") for line in said)


def without_dimensions(arms: dict[str, Arm], confirm_blocks: int = 10) -> Results:
    frames = fabricate(arms, Procedure(num_samples=1, candidates=1, confirm_blocks=confirm_blocks, measured_blocks=1))
    entries = [entry | {"dimensions": {}} for entry in frames.space["arms"]]
    return Results(replace(frames, space=frames.space | {"arms": entries}))


def test_a_space_that_searches_nothing_is_not_said_to_have_searched() -> None:
    arms = without("placebo")
    found = text(without_dimensions(arms))
    assert "search" not in found
    assert "procedure" not in found
    assert "points of it are lost on the train set" in found


def test_one_confirm_block_is_said_once_and_nothing_is_told_apart() -> None:
    results = without_dimensions(ARMS, confirm_blocks=1)
    found = text(results)
    assert found.count("One confirm block") == 1
    assert "Not claimed" not in found
    assert "can be told from large_batch" not in found
    assert "1 blocks" not in markdown(report(results, summary(results), []))


def test_a_run_that_is_not_finished_says_how_far_it_is() -> None:
    frames = fabricate(ARMS, Procedure(num_samples=4, candidates=2, decide_blocks=2, confirm_blocks=4))
    assert "not finished" not in text(Results(frames))
    confirm = frames.members["stage"] == "confirm"
    left_out = frames.members.index[confirm & (frames.members["arm"] == "sam")][-2:]
    short = Results(replace(frames, members=frames.members.drop(left_out)))
    (line,) = (line for line in sentences(short) if "not finished" in line)
    total = int(confirm.sum())
    assert line.startswith(f"The run is not finished: {total - 2} of {total} confirm members are there")
    assert isinstance(line, Caveat)


def test_unequal_budgets_are_said() -> None:
    frames = fabricate(ARMS, Procedure(num_samples=8))
    first = frames.members["configuration_id"][
        (frames.members["arm"] == "null") & (frames.members["stage"] == "search")
    ]
    kept = ~(frames.members["configuration_id"].isin(set(first.iloc[:3])) & (frames.members["stage"] == "search"))
    (line,) = (line for line in sentences(Results(replace(frames, members=frames.members[kept]))) if "Budgets" in line)
    assert "most arms tried 8 configurations, null 5." in line
    assert "Budgets" not in text(Results(frames))


def test_a_choice_between_equals_is_said() -> None:
    frames = fabricate(ARMS, Procedure(num_samples=8, candidates=3, decide_blocks=3))
    own = (frames.members["arm"] == "sam") & (frames.members["stage"] == "decide")
    same = {name: frames.members[name].mask(own, 0.25) for name in ("validation_loss", "validation_soft_error")}
    assert "Chosen on a tie: another candidate of sam has" in text(
        Results(replace(frames, members=frames.members.assign(**same)))
    )
    assert "Chosen on a tie" not in text(Results(frames))

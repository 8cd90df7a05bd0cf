from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.__main__ import main, write_report
from analysis.notation import listed, percent, points, significant, with_interval
from analysis.old_design.figures import FIGURES
from analysis.old_design.results import OldResults
from analysis.old_design.sentences import sentences
from analysis.summary import summary
from tests.analysis.old_design.fabrication import ARMS, Arm, Procedure, fabricate, space, store_run
from tune_lb.results.storage import Store


def text(results: OldResults) -> str:
    return "\n".join(sentences(results))


@pytest.mark.slow
def test_json_is_one_object_and_the_files_are_there(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([run_folder.name, "--storage", str(run_folder.parent), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {"rows", "sentences", "best", "paths", "problems"} <= set(shown)
    assert all(Path(path).stat().st_size > 0 for path in shown["paths"].values())
    tables = {"arms.parquet", "configurations.parquet", "report.html", "report.md"}
    assert set(shown["paths"]) == tables | {f"{name}.png" for name in FIGURES}
    assert all(Path(shown["paths"][f"{name}.png"]).read_bytes().startswith(b"\x89PNG") for name in FIGURES)
    marks = {row["arm"]: row["mark"] for row in shown["rows"]}
    assert (marks["placebo"], marks["sam"], marks["null"]) == ("noise floor", "claim", "")
    assert set(shown["best"]["sam"]["by_split"]) == {"0", "1", "2"}
    assert shown["best"]["sam"]["sam.rho"] > 0


@pytest.mark.slow
def test_the_parquet_files_hold_the_tables(run_folder: Path) -> None:
    results = load(str(run_folder))
    write_report(results, Store(str(run_folder)), figures=False)
    table = pd.read_parquet(run_folder / "report" / "arms.parquet")
    assert table["arm"].tolist() == list(ARMS)
    assert table["test_error"].tolist() == pytest.approx(results.arms["test_error"].tolist())
    report = (run_folder / "report" / "report.md").read_text()
    assert "noise floor" in report.lower()
    assert "nan" not in report.lower().split()
    assert "A run of the old design" in report


def test_without_json_the_table_and_the_sentences_are_printed(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_folder), "--no-figures"]) == 0
    printed = capsys.readouterr().out
    assert "sam lowers the test error" in printed
    assert "report.html" in printed


def test_the_answer_can_be_had_without_writing(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")}
    assert main([str(run_folder), "--no-files"]) == 0
    printed = capsys.readouterr().out
    assert "sam lowers the test error" in printed
    assert "report.html" not in printed
    assert {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")} == before


def test_no_such_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere", "--storage", str(tmp_path)]) == 2
    assert "space.json" in capsys.readouterr().err


def test_sentences_say_the_drop_the_floor_and_the_claim(results: OldResults) -> None:
    said = text(results)
    assert "The large batch costs" in said
    assert "Noise floor: placebo" in said
    assert "sam lowers the test error" in said
    assert "Not claimed: null" in said
    assert "Tuning alone closes" in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"error": 0.03}, "no drop to close that can be told from zero"),
        ({"train_error": 0.02}, "under-trained"),
        ({"error": 0.01}, "sam RAISES the test error"),
        ({"error": 0.01}, "The large batch is better"),
    ],
)
def test_sentences_of_other_findings(changes: dict[str, float], words: str) -> None:
    arms = {name: replace(ARMS[name], **changes) for name in ("large_batch", "placebo")}
    arms["small_batch"] = replace(ARMS["small_batch"], train_loss=1e-3)
    assert words in text(OldResults(fabricate({**ARMS, **arms}, Procedure(curvature=0.02))))


def test_many_arms_without_a_claim_are_one_sentence_with_the_first_and_the_last() -> None:
    arms = {f"arm_{k}": replace(ARMS["null"], error=0.05 + 2e-4 * k, like=None) for k in range(12)}
    results = OldResults(fabricate({**ARMS, **arms}, Procedure(num_trials=4)))
    (line,) = (line for line in sentences(results) if line.startswith("Not claimed"))
    unclaimed = results.arms[(results.arms["role"] == "arm") & ~results.arms["claim"].fillna(True).astype(bool)]
    assert f"{len(unclaimed)} arms, from " in line
    ranked = unclaimed.sort_values("difference")["arm"].tolist()
    assert line.index(ranked[0]) < line.index(" to ") < line.index(ranked[-1])
    assert "not told from the reference" in line
    assert len(line) < 250


def test_limits_are_said() -> None:
    said = text(OldResults(fabricate(ARMS, Procedure(sampler="tpe", confirm_seeds=5))))
    assert "noise of the search is not known" in said
    assert "1 split of the data" in said
    assert "Fewer than 8 confirm seeds" in said


def test_mixed_versions_are_named() -> None:
    frames = fabricate(ARMS, Procedure())
    frames.members.loc[frames.members["seed"] == 2003, "git_commit"] = "def"
    assert "The results mix git_commit: abc and def." in text(OldResults(frames))


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
    results = OldResults(fabricate(arms, Procedure(num_trials=4)))
    assert len(summary(results)["rows"]) == len(arms)
    assert text(results)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.15, 0.4, 0.8, 0.95])
def test_partial_results_are_reported(kept: float) -> None:
    """Whatever members are there when somebody looks: from none to all but some of the last arm's."""
    frames = fabricate(ARMS, Procedure())
    members = frames.members.iloc[: int(kept * len(frames.members))]
    shown = summary(OldResults(replace(frames, members=members)))
    assert json.dumps(shown, allow_nan=False)
    assert [row["arm"] for row in shown["rows"]] == list(ARMS)
    assert any("Not confirmed yet" in line or "No arm is confirmed yet" in line for line in shown["sentences"])


@pytest.mark.parametrize("kept", [0, pytest.param(60, marks=pytest.mark.slow)])
def test_a_search_that_has_just_begun_has_a_report(kept: int, tmp_path: Path) -> None:
    frames = fabricate(ARMS, Procedure())
    store = store_run(replace(frames, members=frames.members.iloc[:kept]), str(tmp_path / "run"))
    shown = write_report(load(store.location), store)
    assert Path(shown["paths"]["report.md"]).read_text().startswith("# fabricated")


def test_a_missing_split_of_one_arm_is_left_out_of_its_difference() -> None:
    frames = fabricate(ARMS, Procedure(split_seeds=(0, 1)))
    gone = (frames.members["arm"] == "sam") & (frames.members["split_seed"] == 1)
    results = OldResults(replace(frames, members=frames.members[~gone]))
    means = results.confirmed[results.confirmed["split_seed"] == 0].groupby("arm")["test_error"].mean()
    row = results.arms.set_index("arm").loc["sam"]
    assert row["difference"] == pytest.approx(means["sam"] - means["large_batch"])


def test_damaged_files_are_named_and_skipped(run_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    for broken in sorted((copy / "trials").glob("sam-*.confirm.*.members.parquet")):
        broken.write_bytes(broken.read_bytes()[:100])
    shown = summary(load(copy))
    assert any(broken.name in problem for problem in shown["problems"])
    assert [row["n"] for row in shown["rows"] if row["arm"] == "sam"] == [0]
    assert any("could not be used" in line for line in shown["sentences"])


def test_damaged_views_are_named(run_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    for name in ("history/history.parquet", "predictions/targets.parquet"):
        (copy / name).write_bytes(b"no parquet")
    results = load(copy)
    assert len(results.arms) == len(ARMS)
    assert any("targets.parquet" in problem for problem in results.problems)


def test_numbers_are_written_for_people() -> None:
    assert (percent(0.02134), points(-0.0131), points(-1e-9)) == ("2.13", "-1.31", "+0.00")
    assert with_interval("-1.31", -0.019, -0.0067) == "-1.31 [-1.90, -0.67]"
    assert with_interval("-1.31", np.nan, np.nan) == "-1.31"
    assert [significant(v) for v in (0.41, 12.34, 0.0, 1.5e-5, 1234.0)] == ["0.41", "12", "0", "1.5e-05", "1,234"]
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_the_space_of_a_fabricated_run_is_that_of_the_contract() -> None:
    found = space(ARMS, Procedure())
    assert (found["baseline"], found["reference"], found["placebo"]) == ("small_batch", "large_batch", "placebo")

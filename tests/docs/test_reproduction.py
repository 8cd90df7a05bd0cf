"""The page of the papers' rows is that of the committed runs, and what is kept of a run names no machine."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import scipy.stats

from tests.docs.blocks import ROOT
from tune_lb.results.run_files import write_space
from tune_lb.results.storage import Store
from tune_lb.space.papers import ROWS

KEPT = sorted(path for path in (ROOT / "docs" / "reproduction").iterdir())


@pytest.fixture(scope="module", autouse=True)
def docs_importable() -> Iterator[None]:
    sys.path.insert(0, str(ROOT / "docs"))
    yield
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def made() -> str:
    return module("making.reproduction").reproduction_page()


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_the_page_is_that_of_the_runs(made: str) -> None:
    assert (ROOT / "docs" / "reproduction.md").read_text() == made, "run python docs/reproduction.py"
    assert (ROOT / "docs" / "open_questions.md").read_text() == module("making.questions").questions_page()


def test_every_row_has_one_line(made: str) -> None:
    lines = re.findall(r"^\| (\w+: [^|]+?) \|", made, flags=re.M)
    assert [line for line in lines if line in ROWS] == list(ROWS)


def test_what_is_made_of_a_run_is_said_without_numbers() -> None:
    remarks = module("making.remarks").REMARKS
    repeating = {path.name for path in KEPT if json.loads((path / "space.json").read_text()).get("rows")}
    assert set(remarks) == repeating
    # names of networks and sharpness measures have digits, results have none
    assert [text for text in remarks.values() if re.search(r"(?<![A-Za-z])\d", text)] == []


@pytest.mark.parametrize("run", KEPT, ids=lambda path: path.name)
def test_a_kept_run_is_whole_and_names_no_folder_of_a_machine(run: Path) -> None:
    space = json.loads((run / "space.json").read_text())
    members = pd.read_parquet(run / "results" / "members.parquet")
    assert set(members["status"]) <= {"completed", "diverged"}
    assert set(members["arm"]) == {arm["name"] for arm in space["arms"]}
    assert (run / "report" / "report.md").is_file()
    assert not (run / "weights").exists()
    text = json.dumps(space["asked"]) + members.select_dtypes(include=["object", "string"]).to_csv()
    assert re.findall(r"(?<![\w.])/(?:root|home|tmp|work|Users)/", text) == []


def test_what_is_kept_is_a_copy_without_folders(tmp_path: Path) -> None:
    keep = module("keep_run").keep
    run = KEPT[0]
    changed = tmp_path / "run" / run.name
    (changed / "weights").mkdir(parents=True)
    for name in (
        "results/members.parquet",
        "history/history.parquet",
        "predictions/targets.parquet",
        "report/report.md",
    ):
        (changed / name).parent.mkdir(parents=True, exist_ok=True)
        (changed / name).write_bytes((run / name).read_bytes())
    space = json.loads((run / "space.json").read_text())
    space["asked"] |= {"path": "/home/me/search_spaces/mine.py", "options": {"storage": "/home/me/runs", "workers": 2}}
    write_space(Store(changed), space)
    keep(changed, tmp_path / "kept")
    asked = json.loads((tmp_path / "kept" / "space.json").read_text())["asked"]
    assert (asked["path"], asked["options"]) == ("search_spaces/mine.py", {"storage": "runs", "workers": 2})
    files = {
        path.relative_to(tmp_path / "kept").as_posix() for path in (tmp_path / "kept").rglob("*") if path.is_file()
    }
    assert files == {
        "space.json", "results/members.parquet", "history/history.parquet", "predictions/targets.parquet", "report/report.md",
    }  # fmt: skip


def test_the_difference_of_two_arms_is_that_of_scipy() -> None:
    questions = module("making.questions")
    found = questions.difference(questions.run("quickstart"), "sam", "large_batch")
    folder = ROOT / "docs" / "results" / "quickstart"
    members = pd.read_parquet(folder / "results" / "members.parquet")
    selected = json.loads((folder / "space.json").read_text())["selected"]
    confirm = members[(members["stage"] == "confirm") & (members["configuration_id"] == members["arm"].map(selected))]
    errors = confirm.pivot_table(index="block", columns="arm", values="test_error")
    expected = scipy.stats.ttest_rel(errors["sam"], errors["large_batch"])
    interval = expected.confidence_interval()
    assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, expected.pvalue), rel=1e-9)

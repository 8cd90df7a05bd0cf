"""Commands that start nothing: what they print, and what they refuse."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.analysis.old_design.fabrication import ARMS, Procedure, fabricate, store_run
from tests.cli.conftest import ROOT, Called
from tune_lb.data.catalogue import IDX_FILES

SPACE = """
from tune_lb.data.digits import Digits
from tune_lb.models.mlp import MLP
from tune_lb import Arm, Space, over

SPACE = Space(
    question="?", data=Digits(), model=MLP(hidden=(4,)), eta_over_b=over(1e-4, 1e-2, log=True),
    arms=(Arm("small", batch_size=20), Arm("large", batch_size=400)), baseline="smal", reference="large", num_samples=0,
)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    store_run(fabricate(ARMS, Procedure(num_trials=4, split_seeds=(0, 1))), str(folder / "made"))
    return folder


@pytest.mark.parametrize(
    ("words", "text", "imported"),
    [(["search", "--help"], "--dry-run", []), (["spaces"], "quickstart_mnist", ["rich"])],
    ids=["help", "spaces"],
)
def test_what_answers_at_once_imports_nothing_heavy(words: list[str], text: str, imported: list[str]) -> None:
    code = (
        "import sys\nfrom tune_lb.__main__ import main\n"
        f"try:\n    main({words})\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'ray', 'pandas', 'pyarrow', 'numpy', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == str(imported)
    assert text in done.stdout


@pytest.mark.slow
def test_a_run_of_the_first_version_is_read_by_every_command(call: Called, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests" / "old_runs" / "remedies", tmp_path / "remedies")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, recipe, _ = call("best", "remedies", "sam", "--storage", str(tmp_path))
    assert code == 0
    compile(recipe, "recipe.py", "exec")
    assert recipe.startswith('"""sam: best configuration of run remedies')
    assert "def sam_" in recipe or "SAM_RHO" in recipe
    code, out, _ = call("status", "remedies", "--storage", str(tmp_path), "--json")
    assert (code, json.loads(out)["run"]) == (0, "remedies")
    assert {path: path.read_bytes() for path in before} == before, "they write nothing"
    code, out, _ = call("report", "remedies", "--storage", str(tmp_path), "--json")
    assert (code, len(json.loads(out)["rows"])) == (0, 46)


def test_spaces_lists_ours(call: Called) -> None:
    code, out, err = call("spaces", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)["spaces"]}
    assert code == 0
    assert listed["quickstart"]["error"] is None
    assert "what brings the accuracy back" in listed["quickstart"]["question"]
    assert "next:" in err


def test_spaces_by_paper_and_by_row(call: Called) -> None:
    assert call("spaces", "--names")[1].splitlines() == sorted(call("spaces", "--names")[1].split())
    _, out, _ = call("spaces", "--json")
    listed = json.loads(out)
    papers = {row.partition(":")[0] for entry in listed["spaces"] for row in entry["rows"]}
    for paper in papers:
        chosen = json.loads(call("spaces", "--paper", paper, "--json")[1])["spaces"]
        expected = [entry["name"] for entry in listed["spaces"] if entry["rows"] and entry["rows"][0].startswith(paper)]
        assert [entry["name"] for entry in chosen] == expected


def test_names_leave_out_spaces_whose_data_are_not_here(
    call: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNE_LB_DATA", str(tmp_path))
    everything = [entry["name"] for entry in json.loads(call("spaces", "--json")[1])["spaces"]]
    code, out, err = call("spaces", "--names")
    assert (code, out.splitlines()) == (0, ["noise_and_scaling", "quickstart", "remedies"]), (
        "these read the embedded digits alone"
    )
    assert [line.split(": ")[1] for line in err.splitlines()] == [n for n in everything if n not in out.splitlines()]
    assert "left out: keskar_f2: TIMIT is not there" in err
    assert "LDC93S1" in err, "how to get them"
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for file in IDX_FILES:
        (tmp_path / "MNIST" / "raw" / file).touch()
    (tmp_path / "ImageNet").mkdir()
    found = call("spaces", "--names")[1].splitlines()
    assert {"quickstart_mnist", "walk_mlp", "jaiswal_imagenet"} <= set(found)
    assert "walk_schedules" not in found, "CIFAR-10 is missing at the paper's scale"
    listed = {entry["name"]: entry["missing"] for entry in json.loads(call("spaces", "--json")[1])["spaces"]}
    assert (len(listed["keskar_c1"]), listed["walk_mlp"]) == (1, [])
    assert "tune_lb data CIFAR10 --download" in listed["keskar_c1"][0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--paper", "keskr"), "did you mean 'keskar'?"),
        (("--row", "keskar: table 99"), "no space repeats it"),
        (("--row", "walk: figure 36"), "it is no search; benchmarks/quadratic.py shows it"),
    ],
)
def test_a_paper_or_row_that_is_none(call: Called, words: tuple[str, ...], line: str) -> None:
    code, _, err = call("spaces", *words)
    assert (code, line in err) == (2, True)


def test_show_prints_arms_and_ranges(call: Called) -> None:
    code, out, err = call("show", "quickstart", "sam.batch_size=200", "num_samples=5")
    line = next(line for line in out.splitlines() if line.startswith("sam "))
    assert (code, err) == (0, "")
    assert line.split()[:4] == ["sam", "arm", "200", "5"]
    assert "sam.rho: 0.02 .. 1 (log)" in out
    assert out.splitlines()[-1].startswith("next: ")


def test_overrides_may_stand_after_options(call: Called) -> None:
    code, out, _ = call("show", "quickstart", "--json", "num_samples=7", "confirm_blocks=5")
    assert code == 0
    shown = json.loads(out)
    assert {arm["num_samples"] for arm in shown["arms"]} == {7, 0}
    assert shown["procedure"].endswith("one confirmed in 5 blocks of one seed")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("show", "quickstrat"), ["did you mean 'quickstart'?"]),
        (("show", "quickstart", "epoch=5"), ["did you mean 'epochs'?"]),
        (("show", "quickstart", "sam.rho=-1", "num_samples=0"), ["num_samples = 0: must be at least 1", "rho = -1"]),
        (
            ("search", "quickstart", "nonsense", "candidates=2", "--candidates", "3"),
            ["nonsense: not of the form", "candidates is given twice"],
        ),
        (("search", "quickstart", "--sampler", "sobl"), ["did you mean 'sobol'?"]),
        (("search", "quickstart", "--name", "../elsewhere"), ["a name is letters"]),
        (("search", "quickstart", "batch_size=150"), ["does not divide batch_size = 150", "1, 2, 3, 5"]),
        (
            ("search", "quickstart", "large_batch.batch_size=500"),
            ["batch_size = 500 is larger than the train set (400"],
        ),
        (("train", "quickstart", "samm"), ["did you mean 'sam'?"]),
        (("status", "nothing"), ["there is no run 'nothing'"]),
        (("report", "nothing"), ["there is no run 'nothing'"]),
        (("report", "nothing", "else"), ["there is no run 'nothing'"]),
        (("best", "nothing"), ["there is no run 'nothing'"]),
        (("serch", "quickstart"), ["invalid choice: 'serch'"]),
        (("search", "quickstart", "--nmae", "x"), ["not understood: --nmae x"]),
    ],
)
def test_wrong_requests(call: Called, words: tuple[str, ...], expected: list[str]) -> None:
    code, _, err = call(*words)
    assert code == 2
    assert "Traceback" not in err
    for text in expected:
        assert text in err
    assert not Path("runs").exists() or not list(Path("runs").rglob("*.parquet"))


def test_all_mistakes_of_a_file_at_once(call: Called, tmp_path: Path) -> None:
    (tmp_path / "mistaken.py").write_text(SPACE)
    code, _, err = call("search", "mistaken.py", "oops")
    lines = err.splitlines()
    assert code == 2
    assert all(line.startswith("error: ") for line in lines)
    assert [any(word in line for line in lines) for word in ("oops", "num_samples = 0", "did you mean 'small'?")] == [
        True
    ] * 3


def test_storage_that_cannot_be_written(call: Called, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = call("search", "quickstart", "--storage", str(tmp_path / "file"))
    assert code == 2
    assert "cannot write" in err


def test_status_counts_members(call: Called, runs: Path) -> None:
    code, out, _ = call("status", "made", "--storage", str(runs), "--json")
    shown = json.loads(out)
    arms = {arm["arm"]: arm for arm in shown["arms"]}
    assert code == 0
    assert arms["sam"]["search"] == {"done": 4 * 3 * 2, "total": 4 * 3 * 2}
    assert arms["sam"]["confirm"]["done"] == arms["sam"]["confirm"]["total"]
    assert shown["done"]
    assert "report made" in shown["next"]
    assert shown["problems"] == []


def test_status_counts_what_was_trained_for_others(call: Called, tmp_path: Path) -> None:
    frames = fabricate(ARMS, Procedure(num_trials=2, split_seeds=(0,)))
    searched = frames.members.query("arm == 'sam' and stage == 'search'").index[:2]
    frames.members.loc[searched, "stage"] = "lent"
    store_run(frames, str(tmp_path / "runs" / "lending"))
    arms = {arm["arm"]: arm for arm in json.loads(call("status", "lending", "--json")[1])["arms"]}
    assert arms["sam"]["lent"] == {"done": 2, "total": None}


def test_status_names_a_damaged_file(call: Called, tmp_path: Path) -> None:
    store_run(fabricate(ARMS, Procedure(num_trials=2, split_seeds=(0,))), str(tmp_path / "runs" / "damaged"))
    file = next((tmp_path / "runs" / "damaged" / "trials").glob("sam*.members.parquet"))
    file.write_bytes(b"nonsense")
    code, out, _ = call("status", "damaged")
    assert code == 0
    assert file.name in out
    assert "1 file(s) left out" in out


@pytest.mark.slow
def test_report_shows_and_writes(call: Called, runs: Path) -> None:
    code, out, err = call("report", "made", "--storage", str(runs))
    assert (code, err) == (0, "")
    assert (runs / "made" / "report" / "report.md").is_file()
    assert (runs / "made" / "report" / "report.html").is_file()
    assert "placebo (noise floor)" in out
    assert out.splitlines()[-1].startswith("next: ")


def test_runs_that_cannot_be_compared_are_refused(call: Called, runs: Path, tmp_path: Path) -> None:
    for name in ("made", "other"):
        shutil.copytree(runs / "made", tmp_path / "runs" / name)
    code, _, err = call("report", "made", "other")
    assert code == 2
    (line,) = err.splitlines()
    assert "are of the old design" in line


@pytest.mark.slow
@pytest.mark.parametrize("works", [True, False])
def test_report_opens_the_page(call: Called, runs: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: asked.append(address) or works)
    code, out, _ = call("report", "made", "--storage", str(runs), "--open")
    assert code == 0
    assert asked == [(runs / "made" / "report" / "report.html").resolve().as_uri()]
    assert ("no browser could be started" in out) == (not works)


def test_train_prints_epochs_and_a_row(call: Called) -> None:
    words = ("epochs=2", "metrics=()", "sam.rho=0.1", "eta_over_b=1e-3", "--seed", "5", "--json")
    code, out, err = call("train", "quickstart", "sam", *words)
    row = json.loads(out)["row"]
    assert code == 0
    assert (row["seed"], row["updates"], row["gradient_evaluations"], row["sam.rho"]) == (5, 2, 4, 0.1)
    assert sum(line.startswith("epoch ") for line in err.splitlines()) == 2


def test_commands_that_look_at_a_run_load_no_torch() -> None:
    """It takes a second or two, which `status` in a terminal would wait for each time."""
    names = ", ".join(
        f"tune_lb.cli.{name}" for name in ("status", "watch", "list", "stop", "check", "export", "report", "remove")
    )
    code = f"import sys, {names}; assert not {{'torch', 'ray', 'scipy', 'pandas'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

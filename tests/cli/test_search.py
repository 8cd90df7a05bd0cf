"""A whole search through the program, of a space that lies anywhere, interrupted and gone on with."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.analysis.old_design.fabrication import ARMS, Procedure, fabricate, store_run
from tests.cli.conftest import Called
from tests.faults.small_runs import search as trained_here
from tests.object_store import ObjectStore
from tests.searching import Searches
from tune_lb.cli.output import Output
from tune_lb.cli.search import conclude
from tune_lb.results import waiting
from tune_lb.results.storage import Store
from tune_lb.results.waiting import storage_waited_for
from tune_lb.space.loading import load_space

SPACE = """
from shrinking import Shrinking

from tune_lb.budgets import Epochs
from tune_lb.data.digits import Digits
from tune_lb.models.mlp import MLP
from tune_lb import Arm, Space, over

SPACE = Space(
    question="Does shrinking help?", data=Digits(num_train=200, num_validation=100), model=MLP(hidden=(8,)),
    eta_over_b=over(1e-3, 1e-2, log=True), budget=Epochs(3), batch_size=100,
    arms=(Arm("small", batch_size=20), Arm("large"), Arm("shrinking", Shrinking(share=over(0.01, 0.1)))),
    baseline="small", reference="large", num_samples=2, candidates=2, decide_blocks=1, confirm_blocks=2, block_seeds=1, metrics=(),
)
"""
WITNESSED = "import witness\n" + SPACE.replace("metrics=()", 'metrics=(witness.Witness(),), metrics_on="all"')
REMEDY = """
from dataclasses import dataclass
from typing import ClassVar

from tune_lb import Remedy, setting


@dataclass(frozen=True)
class Shrinking(Remedy):
    name: ClassVar[str] = "shrinking"
    share: float = setting(0.0, "of the gradient taken away", low=0.0, high=1.0)

    def gradient(self, inner):
        def shrunk(params, buffers, batch):
            loss, gradients, updated = inner(params, buffers, batch)
            keep = 1 - batch.values["shrinking.share"]
            return loss, {name: keep * g for name, g in gradients.items()}, updated
        return shrunk
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "mine.py").write_text(SPACE)
    (tmp_path / "spaces" / "shrinking.py").write_text(REMEDY)
    return tmp_path


def test_dry_run_writes_nothing(folder: Path, call: Called) -> None:
    (folder / "spaces" / "mine.py").rename(folder / "spaces" / "dry.py")
    code, out, err = call("search", "spaces/dry.py", "--dry-run", "--json")
    plan = json.loads(out)["plan"]
    arms = {arm["arm"]: arm for arm in plan["arms"]}
    assert code == 0
    assert len(arms["shrinking"]["first_configurations"]) == 2
    assert arms["shrinking"]["members"] == 2 + 2 * 1 + 2 * 1
    assert sorted(path.name for path in folder.iterdir()) == ["spaces"], "no run folder, not even an empty one"
    assert "dry run: nothing was trained" in err


def ended(status: str, **more: object) -> dict[str, object]:
    facts = {"run": "made", "location": "/x", "status": status, "members": 7, "failed": 0}
    return facts | {"failures": [], "left_out": []} | more


@pytest.mark.parametrize(
    ("result", "code", "lines"),
    [
        (
            ended("stopped", failed=8, failures=["the worker died: no space left on device"]),
            1,
            ["failed: the worker died: no space left on device", "stopped: worker after worker died", "7 members are"],
        ),
        (ended("interrupted"), 130, ["interrupted: 7 members are stored in /x; the same command goes on from there"]),
        pytest.param(
            ended("partial", failed=2, failures=["ValueError: x"], left_out=["results: a is left out: it is damaged"]),
            3,
            ["failed: ValueError: x", "left out: results: a is", "2 member(s) failed"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ended("done", left_out=["results: a is damaged"]),
            0,
            ["left out: results: a is damaged"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: value["status"] if isinstance(value, dict) else "",
)
def test_how_a_search_ended_is_its_exit_code(
    result: dict[str, object], code: int, lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_run(fabricate(ARMS, Procedure(num_trials=2, split_seeds=(0,))), str(tmp_path / "made"))
    found = conclude(Output(False), result, "made", str(tmp_path), "the same command")
    out = capsys.readouterr().out
    assert found == code
    assert all(line in out for line in lines), out
    assert ("failed: " in out) == bool(result["failures"])
    assert ("next: the same command" in out) == bool(code)


@pytest.mark.soak
def test_the_answer_waits_for_an_object_store_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped when all is trained, and started again when it is said that it does not answer."""
    pytest.importorskip("moto.server", reason="needs moto (pip install 'moto[s3]' flask flask-cors)")
    server = ObjectStore()
    for key, value in server.environment().items():
        monkeypatch.setenv(key, value)
    store_run(fabricate(ARMS, Procedure(num_trials=2, split_seeds=(0,))), str(tmp_path / "made"))
    place = Store("s3://bucket/runs/made")
    for path in (file for file in (tmp_path / "made").rglob("*") if file.is_file()):
        place.write(str(path.relative_to(tmp_path / "made")), path.read_bytes())
    monkeypatch.setattr(waiting, "PAUSE_S", 0.2)
    server.stop()
    said: list[str] = []

    def say(line: str) -> None:
        if not said:
            server.start()
        said.append(line)

    with storage_waited_for(say):
        code = conclude(Output(False), ended("done"), "made", "s3://bucket/runs", "the same command")
    server.stop()
    assert code == 0, capsys.readouterr()
    assert " does not answer (" in said[0]
    assert "it answers again after" in said[1]


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes through /proc")
def test_begun_anew_interrupted_and_gone_on_with(searches: Searches) -> None:
    """Of a space with a remedy of its own. Workers are held where a signal comes, so that something runs then."""
    file = searches.folder / "spaces" / "mine.py"
    file.write_text(WITNESSED)
    (searches.folder / "spaces" / "shrinking.py").write_text(REMEDY)
    run = ("own", "out/deep")
    folder = searches.folder / "out" / "deep" / "own"
    trained_here(searches.folder, load_space(str(file)).space, run=folder)
    first = searches.stored(*run)
    assert len(first) > 0

    options = ("--name", "own", "--storage", "out/deep", "--max-concurrent", "1")
    changed = ("search", "spaces/mine.py", "epochs=2", "shrinking.batch_size=50", *options)
    code, _, err = searches.run(*changed)
    assert code == 2
    for line in (
        "exists with another space",
        "arms.shrinking.batch_size: was 100, now 50",
        "arms.*.epochs: was 3, now 2",
        "--fresh",
    ):
        assert line in err
    assert searches.stored(*run) == first

    process, _ = searches.start_until("report@.confirm.", *changed, "--fresh")
    # a terminal sends it to the whole group
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, ""), out
    assert "interrupted: " in out
    assert "the same command goes on from there" in out
    assert " ".join(changed) in out.splitlines()[-1]
    searches.kill_all()
    assert not (folder / "ray").exists()
    stored, before = searches.stored(*run), len(searches.trained())
    assert not stored.keys() & first.keys()

    code, out, err = searches.run(*changed, "--confirm-blocks", "3")
    assert (code, err) == (0, ""), out
    assert "Does shrinking help?" in out
    members = searches.results(*run).reset_index()
    # sorted, not as sets: large and large_scaled are the same training where their rates are
    assert sorted(members["witness"]) == sorted([*stored, *searches.trained()[before:]]), "what is stored stays"
    assert set(members["epochs"]) == {2.0}
    counts = members.groupby(["stage", "arm"]).size()
    assert counts["search"].to_dict() == dict.fromkeys(("small", "large", "placebo", "shrinking"), 2)
    assert counts["confirm"].to_dict() == dict.fromkeys(
        ("small", "large", "large_copied", "large_scaled", "placebo", "shrinking"), 3
    )
    assert members["shrinking.share"].notna().sum() == (members["arm"] == "shrinking").sum()

    code, out, err = searches.run("best", "own", "shrinking", "--storage", "out/deep")
    assert (code, err) == (0, "")
    assert "NOT WRITTEN OUT: Shrinking(share=" in out
    compile(out, "recipe.py", "exec")


@pytest.mark.soak
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_changed_code_of_a_remedy_is_refused_until_it_is_accepted_and_trains_its_arms_alone(searches: Searches) -> None:
    (searches.folder / "spaces" / "mine.py").write_text(WITNESSED)
    remedy = searches.folder / "spaces" / "shrinking.py"
    remedy.write_text(REMEDY)
    run = ("own", "runs")
    words = ("search", "spaces/mine.py", "--name", "own", "--max-concurrent", "1", "--confirm-blocks", "3")
    code, _, err = searches.run(*words)
    assert (code, err) == (0, "")
    remedy.write_text(REMEDY.replace("keep = 1 -", "# less\n            keep = 1 - 0.5 *"))
    for command in (words, ("best", "own")):
        code, _, err = searches.run(*command)
        assert code == 2
        assert "Shrinking in shrinking.py changed (arm shrinking)" in err
        assert "--accept-code-change" in err
    before, rows = searches.stored(*run), len(searches.results(*run))
    code, out, err = searches.run(*words, "--accept-code-change")
    assert (code, err) == (0, ""), out
    assert "7 of shrinking" in out.replace("\n", " ")
    assert before.items() <= searches.stored(*run).items(), "old rows stay"
    members = searches.results(*run).reset_index()
    own = members[members["arm"] == "shrinking"]
    assert sorted(own.groupby("code").size()) == [7, 7]
    assert len(members) == rows + 7, "arms that do not use it are not trained again"

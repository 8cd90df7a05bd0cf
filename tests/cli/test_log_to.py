"""search --log-to: members go to other programs as they come, and a program that fails ends nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.rows import SCHEMA, member, store_trial
from tune_lb.cli import log_to
from tune_lb.cli.arguments import parse
from tune_lb.cli.output import Output
from tune_lb.export.exported import Exported
from tune_lb.results.columns import Column
from tune_lb.results.measurements import write_measurements
from tune_lb.results.member_rows import write_trial
from tune_lb.results.run_files import write_space
from tune_lb.results.storage import Store


class Kept:
    """A program that keeps what it is given, and may refuse it."""

    place = "here"

    def __init__(self, refuses: bool = False) -> None:
        self.refuses, self.seen = refuses, []
        self.came = threading.Event()

    def write(self, members: Sequence[Exported]) -> None:
        if self.refuses and members:
            raise ConnectionError("the server is gone")
        self.seen += [member.key for member in members]
        if members:
            self.came.set()

    def close(self) -> int:
        return len(self.seen)


def prepared(store: Store, metrics: tuple = ()) -> SimpleNamespace:
    context = SimpleNamespace(metrics=metrics, metrics_of=lambda stage, block, seed: metrics if seed == 0 else ())
    return SimpleNamespace(request=SimpleNamespace(run=store), context=context)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(log_to, "EVERY_S", 0.02)
    made = Store(tmp_path / "runs" / "mine")
    write_space(made, {"arms": []})
    return made


def test_members_come_once_and_a_program_that_fails_is_left_alone(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store_trial(store, "before")
    fine, broken = Kept(), Kept(refuses=True)
    with log_to.logged({"fine": fine, "broken": broken}, prepared(store), Output(False), "mine", "runs"):
        assert fine.came.wait(20)
        store_trial(store, "between", range(3))
        store_trial(store, "failed", range(1), status="failed")
    assert sorted(fine.seen) == [("before", 0), ("before", 1), ("between", 0), ("between", 1), ("between", 2)]
    said, where = capsys.readouterr().out.splitlines()
    assert said.startswith("--log-to broken: ConnectionError: the server is gone (")
    assert said.endswith("; what is missing is written by: python -m tune_lb export mine --to broken")
    assert where == "fine: here"


def test_what_is_to_be_measured_is_waited_for_while_the_search_runs(store: Store) -> None:
    metric = SimpleNamespace(name="norm", columns=lambda: {"norm": "of the weights"})
    write_trial(store, "a.confirm.0", SCHEMA, [member("a", 0, block=0), member("a", 1, block=0)], [], [])
    kept = Kept()
    with log_to.logged({"kept": kept}, prepared(store, (metric,)), Output(False), "mine", "runs"):
        assert kept.came.wait(20)
        assert kept.seen == [("a", 1)]
        kept.came.clear()
        rows = [{"trial_id": "a", "seed": 0, "norm": 2.0}]
        write_measurements(store, "a.confirm.0", [Column("norm", "float", "of the weights", role="metric")], rows)
        assert kept.came.wait(20)
        assert kept.seen == [("a", 1), ("a", 0)]
        write_trial(store, "b.confirm.0", SCHEMA, [member("b", 0, block=0)], [], [])
    assert kept.seen[2:] == [("b", 0)], "killed over its measurement: what there is, at the end"


def test_an_unknown_program_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["search", "quickstart", "--log-to", "comet"])
    assert "--log-to: invalid choice: 'comet'" in capsys.readouterr().err

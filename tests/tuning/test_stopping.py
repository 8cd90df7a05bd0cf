"""Searches that stop configurations early, in this process: survivors are what they are without, and kills cost nothing."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.faults.small_runs import SPACE, run_of, search
from tune_lb.budgets import Epochs
from tune_lb.cli.standing import Standing
from tune_lb.data.device import on_device
from tune_lb.errors import RequestError
from tune_lb.export.exported import Feed
from tune_lb.export.optuna import Optuna
from tune_lb.remedies.warmup import Warmup
from tune_lb.results.ledger import Ledger
from tune_lb.results.run_files import read_space, write_space
from tune_lb.results.storage import Store
from tune_lb.results.stored_points import points_of
from tune_lb.search.halving import stopped
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.halving import Halving
from tune_lb.tuning.preparation import prepare
from tune_lb.tuning.replay import replayed
from tune_lb.tuning.request import Request
from tune_lb.tuning.running_job import RunningJob
from tune_lb.tuning.stopped_checkpoints import forget_stopped

WHOLE = dataclasses.replace(SPACE, num_samples=6, candidates=2, confirm_blocks=1, budget=Epochs(4))
HALVED = dataclasses.replace(WHOLE, stopping=Halving(factor=2, grace=0.25))
TRAINED = [
    "train_loss",
    "validation_loss",
    "validation_soft_error",
    "test_error",
    "updates",
    "parameter_norm",
    "distance_from_start",
]


def members(place: Path) -> pd.DataFrame:
    return pd.read_parquet(run_of(place) / "results" / "members.parquet").set_index(["trial_id", "seed"]).sort_index()


def view(place: Path, kind: str) -> pd.DataFrame:
    frame = pd.read_parquet(run_of(place) / kind / f"{kind}.parquet").drop(columns="wall_s", errors="ignore")
    return frame.sort_values([name for name in frame if name != "value"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("halved")
    assert search(place, HALVED).left_out == []
    return place


def assert_same(place: Path, whole: Path) -> None:
    """Hold a run to another in all that does not depend on the clock."""
    ours, expected = members(place), members(whole)
    columns = [
        *TRAINED,
        "status",
        "stage",
        "stopped_at",
        "look1.validation_loss",
        "look2.validation_error",
        "gradient_evaluations",
    ]
    pd.testing.assert_frame_equal(ours[columns], expected[columns], check_exact=True)
    for kind in ("history", "predictions"):
        pd.testing.assert_frame_equal(view(place, kind), view(whole, kind), check_exact=True)


def test_survivors_are_those_of_the_search_without_to_the_last_bit(halved: Path, tmp_path: Path) -> None:
    search(tmp_path, WHOLE)
    ours, others = members(halved), members(tmp_path)
    searched = ours[ours["stage"] == "search"]
    assert dict(searched.groupby("arm")["status"].value_counts()) == {
        (arm, status): number for arm in ("small", "large") for status, number in (("stopped", 4), ("completed", 2))
    }
    whole = ours[ours["status"] == "completed"]
    shared = whole.index.intersection(others.index)
    assert set(searched[searched["status"] == "completed"].index) <= set(shared)
    pd.testing.assert_frame_equal(whole.loc[shared, TRAINED], others.loc[shared, TRAINED], check_exact=True)
    # of whom the best half went on: by what the whole trainings were at those epochs
    for arm, own in searched.groupby("arm"):
        best = own["look1.validation_loss"].nsmallest(3).index
        assert set(own[own["look2.validation_loss"].notna()].index) == set(best), arm
        assert set(own[own["status"] == "completed"].index) == set(own["look2.validation_loss"].nsmallest(2).index)


def test_the_row_of_a_stopped_member(halved: Path) -> None:
    rows = members(halved)
    early = rows[rows["stopped_at"] == 1.0]
    assert {tuple(row) for row in early[["status", "stop_reason", "epochs"]].to_numpy()} == {
        ("stopped", "halving", 4.0)
    }
    # 60 examples: an epoch has 6 updates of 10, or 2 of 30; the budget stays that of the whole training
    assert {arm: set(own["updates"]) for arm, own in early.groupby("arm")} == {"small": {6}, "large": {2}}
    assert (early["gradient_evaluations"] == early["updates"]).all()
    assert early[["test_error", "test_loss", "train_error", "generalization_gap", "parameter_norm"]].isna().all().all()
    assert (early["validation_loss"] == early["look1.validation_loss"]).all()
    assert early["look2.validation_loss"].isna().all()
    assert rows.loc[rows["status"] == "completed", "stopped_at"].isna().all()
    spent = rows[rows["stage"] == "search"].groupby("arm")["gradient_evaluations"].sum()
    assert dict(spent) == {"small": 24 * 2 + 12 + 3 * 6, "large": 8 * 2 + 4 + 3 * 2}


class Call:
    """One call of the search, as far as a killed one comes: jobs are handed out until so many were begun."""

    def __init__(self, place: Path, checkpoint_every_s: float = 0.0) -> None:
        self.store = Store(run_of(place))
        prepared = prepare(Request(space=HALVED, name="tiny", run=self.store, asked={}))
        self.context = dataclasses.replace(prepared.context, checkpoint_every_s=checkpoint_every_s)
        self.state = replayed(HALVED, prepared.facts, Ledger(self.store.child("ledger")), prepared.stored.scored)

    def work(self) -> RunningJob:
        job = self.state.take()
        assert job is not None
        return RunningJob(job, lambda trial: on_device(self.context.data_of(trial), "cpu"), self.context)

    def end(self, work: RunningJob) -> None:
        while not work.advance(0.0):
            pass
        self.state.observe(work.finish())


@pytest.mark.parametrize("jobs", [0, 1, 2, 3, 4, 6])
def test_killed_in_the_middle_of_any_rung_it_ends_the_same(jobs: int, halved: Path, tmp_path: Path) -> None:
    call = Call(tmp_path)
    for _ in range(jobs):
        call.end(call.work())
    call.work().advance(0.0)  # an epoch, then nothing more
    search(tmp_path, HALVED)
    assert_same(tmp_path, halved)


def test_killed_between_its_checkpoint_and_its_row_it_is_not_trained_again(halved: Path, tmp_path: Path) -> None:
    work = Call(tmp_path, checkpoint_every_s=60.0).work()
    while not work.advance(0.0):
        pass
    assert not (run_of(tmp_path) / "trials").exists()
    again = Call(tmp_path).work()
    begun, _ = again._begun()
    assert (begun.works[0].training.epoch, begun.done, begun.advance(0.0)) == (1.0, True, True)
    search(tmp_path, HALVED)
    assert_same(tmp_path, halved)


@pytest.mark.parametrize("loss", ["gone", "damaged"])
def test_without_their_checkpoints_survivors_are_trained_anew(loss: str, halved: Path, tmp_path: Path) -> None:
    call = Call(tmp_path)
    while not any(member.look == 2 for job in call.state.running.values() for member in job.members):
        call.end(call.work()) if call.state.rung(call.state.arms["small"]).look == 1 else call.work()
    for path in (run_of(tmp_path) / "checkpoints").iterdir():
        path.unlink() if loss == "gone" else path.write_bytes(path.read_bytes()[:-7])
    search(tmp_path, HALVED)
    assert_same(tmp_path, halved)


def test_checkpoints_wait_for_a_look_and_go_with_it(tmp_path: Path) -> None:
    call = Call(tmp_path)
    small = call.state.arms["small"]
    folder = run_of(tmp_path) / "checkpoints"
    while call.state.rung(small).look == 1:
        forget_stopped(call.state, call.store)
        call.end(call.work())
    assert len(list(folder.iterdir())) == 6
    forget_stopped(call.state, call.store)
    assert len(stopped(call.state, small)) == 3 == len(list(folder.iterdir()))
    while call.state.selected("small") is None:
        call.end(call.work())
    forget_stopped(call.state, call.store)
    assert not list(folder.iterdir())


def test_stacked_members_stop_and_go_on_too(halved: Path, tmp_path: Path) -> None:
    search(tmp_path, dataclasses.replace(HALVED, execution="together"))
    ours, expected = members(tmp_path), members(halved)
    assert list(ours.index) == list(expected.index)
    assert list(ours["status"]) == list(expected["status"])
    for name in ("validation_loss", "look1.validation_loss", "train_loss"):
        pd.testing.assert_series_equal(ours[name], expected[name], rtol=1e-4)


def test_what_cannot_be_judged_is_said_before_anything_starts(tmp_path: Path) -> None:
    warm = Arm("warm", Warmup(epochs=over(0.5, 2.5)))
    space = dataclasses.replace(HALVED, arms=(*HALVED.arms, warm), stopping=Halving())
    with pytest.raises(RequestError) as error:
        prepare(Request(space=space, name="tiny", run=Store(tmp_path / "run"), asked={}))
    (line,) = error.value.problems
    assert line.startswith("arm 'warm': stopping: the first look, after 0.5 of the training (epoch 2)")
    assert "before its warmup is over (epoch 2.5); give a larger grace" in line


def test_another_stopping_is_another_space(halved: Path) -> None:
    with pytest.raises(RequestError, match="stopping"):
        prepare(Request(space=WHOLE, name="tiny", run=Store(run_of(halved)), asked={}), write=False)


def standing(place: Path) -> dict[str, dict[str, int]]:
    return {arm["arm"]: arm["search"] for arm in Standing(Store(run_of(place))).look().arms}


def test_status_counts_what_is_trained_and_never_jumps_back(halved: Path, tmp_path: Path) -> None:
    call, seen = Call(tmp_path), []
    write_space(call.store, json.loads((run_of(halved) / "space.json").read_text()))
    while not call.state.finished:
        call.end(call.work())
        seen.append(standing(tmp_path)["small"]["done"])
        # from files alone a look is known to be decided when the first who went on from it is there
        assert seen[-1] <= next(arm.done for arm in call.state.progress() if arm.name == "small")
    assert seen == sorted(seen)
    assert standing(tmp_path) == standing(halved) == {arm: {"done": 6, "total": 6} for arm in ("small", "large")}


def test_programs_are_given_whom_is_decided_of_once(halved: Path, tmp_path: Path) -> None:
    call = Call(tmp_path)
    write_space(call.store, json.loads((run_of(halved) / "space.json").read_text()))
    feed, given = Feed(call.store), []
    while not call.state.finished:
        call.end(call.work())
        given += feed.new()
    whole = members(halved)
    assert {member.key: member.row["status"] for member in given} == whole["status"].to_dict()
    assert len(given) == len(whole)
    assert all(member.row["updates"] == whole.loc[member.key, "updates"] for member in given)


def test_optuna_is_given_pruned_trials(halved: Path, tmp_path: Path) -> None:
    store = Store(run_of(halved))
    writer = Optuna(tmp_path, "tiny", read_space(store))
    writer.write(Feed(store).new())
    assert writer.close() == 12
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "studies.log")))
    trials = optuna.load_study(study_name="tiny.small", storage=storage).trials
    assert Counter(trial.state.name for trial in trials) == {"PRUNED": 4, "COMPLETE": 2}
    rows = members(halved).reset_index().set_index("configuration_id")
    for trial in trials:
        row = rows[rows["stage"] == "search"].loc[trial.user_attrs["configuration_id"]]
        looks = [row[f"look{number}.validation_loss"] for number in (1, 2)]
        assert trial.intermediate_values == {k: loss for k, loss in enumerate(looks, 1) if loss == loss}
        # as Optuna's own `tell` has it: what a pruned trial was seen with last
        assert trial.value == row["validation_loss"]


def test_points_of_such_a_run_are_of_whole_trainings(halved: Path) -> None:
    rows = members(halved)
    whole = rows[(rows["stage"] == "search") & (rows["status"] == "completed")].sort_values("validation_loss")
    found = points_of(run_of(halved), best=6)
    for arm in ("small", "large"):
        assert [p["lr"] for p in found if p["arm"] == arm] == pytest.approx(whole[whole["arm"] == arm]["lr"].tolist())

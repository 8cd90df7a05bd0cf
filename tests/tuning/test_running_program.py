"""Jobs whose members of several trials train as one program: what is stored is what each trial alone stores."""

from __future__ import annotations

import dataclasses

import pytest

from tests.jobs import finished, job_of
from tests.killing import kill_at
from tests.trainings import Blobs, parts_of, trial
from tests.tuning.test_running_job import context_of, rows_of
from tune_lb.budgets import Epochs
from tune_lb.data.device import on_device
from tune_lb.remedies.sam import SAM
from tune_lb.search.job import Job
from tune_lb.space.observation import Walk
from tune_lb.training.compiled_stack import CompiledStack
from tune_lb.tuning import running_program
from tune_lb.tuning.running_job import RunningJob
from tune_lb.tuning.running_program import RunningProgram
from tune_lb.tuning.running_training import RunningTraining
from tune_lb.tuning.timed_updates import seconds_in_stacks

FIRST = trial(SAM(rho=0.1), budget=Epochs(4.0))
CHANGING = ("wall_s", "finished_at", "peak_memory_bytes", "git_commit")


def others(number):
    return [dataclasses.replace(FIRST, lr=0.02 * i, remedies=(SAM(rho=0.05 * i),)) for i in range(1, number + 1)]


def mixed_job(trials, stage="search"):
    jobs = [job_of(of, seeds=(0,), stage=stage) for of in trials]
    return Job("arm", stage, tuple(member for job in jobs for member in job.members))


def work_on(folder, job, largest=8, execution="together", **changes):
    context = context_of(folder, FIRST, execution)
    context = dataclasses.replace(context, stacked={"arm": largest}, **changes)
    return RunningJob(job, lambda of: on_device(Blobs().load(of.split_seed), "cpu"), context)


def close(rows, expected):
    key = lambda row: (row["trial_id"], row["seed"])  # noqa: E731
    for row, other in zip(sorted(rows, key=key), sorted(expected, key=key), strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            if isinstance(value, float):
                # float32: what is counted may differ by an example
                assert value == pytest.approx(other[name], rel=1e-3, abs=0.05), name
            elif name not in ("execution",):
                assert value == other[name], name


def test_members_of_several_trials_are_one_program_and_stored_as_alone(tmp_path):
    job = mixed_job(
        [*others(3), dataclasses.replace(FIRST, split_seed=1), trial(SAM(rho=0.1, m=4), budget=Epochs(4.0))]
    )
    work = work_on(tmp_path / "a", job)
    assert not work.advance(0.0)
    assert isinstance(work.now, RunningProgram)
    assert [len(each.siblings.members) for each in work.now.works] == [1, 1, 1, 1]
    assert len(work.waiting) == 1
    assert len(finished(work)) == 5
    finished(work_on(tmp_path / "b", job, execution="alone"))
    assert {row["execution"] for row in rows_of(tmp_path / "a")} == {"together"}
    close(rows_of(tmp_path / "a", *CHANGING), rows_of(tmp_path / "b", *CHANGING))


def test_programs_are_bounded(tmp_path):
    work = work_on(tmp_path, mixed_job(others(5)), largest=2)
    sizes = []
    while not work.advance(0.0):
        if work.now is not None and work.now not in [each for _, each in sizes]:
            sizes.append((len(work.now.works), work.now))
    assert [size for size, _ in sizes] == [2, 2, 1]


def test_a_killed_program_goes_on_in_other_groups(tmp_path):
    job = mixed_job(others(4))
    work = work_on(tmp_path / "a", job)
    for _ in range(2):
        work.advance(0.0)
    assert len(list((tmp_path / "a" / "checkpoints").iterdir())) == 4
    again = work_on(tmp_path / "a", Job("arm", "search", job.members[::-1]), largest=3)
    again.advance(0.0)
    assert [each.training.step for each in again.now.works] == [9, 9, 9]
    finished(again)
    finished(work_on(tmp_path / "b", job))
    close(rows_of(tmp_path / "a", *CHANGING), rows_of(tmp_path / "b", *CHANGING))
    assert not list((tmp_path / "a" / "checkpoints").iterdir())


def two_programs():
    """Members that train in two programs, since they take 12 and 15 updates; as a killed process makes them, too."""
    longer = [dataclasses.replace(of, budget=Epochs(5.0)) for of in others(2)]
    return mixed_job([*others(2), *longer])


@pytest.mark.slow  # a process of its own, which imports torch
@pytest.mark.parametrize("execution", ["together", "alone"])
def test_a_kill_in_the_middle_of_a_stack_loses_no_finished_member(tmp_path, execution):
    folder, job = tmp_path / "killed", two_programs()
    code = "import torch; torch.set_num_threads(1); from tests.tuning.test_running_program import *; "
    code += f"finished(work_on({str(folder)!r}, two_programs(), execution={execution!r}))"
    assert kill_at("step@step 8 of 15", code, tmp_path, timeout_s=200.0) == "step 8 of 15"
    stored = rows_of(folder)
    assert {row["trial_id"] for row in stored} == {member.trial_id for member in job.members[:2]}
    again = work_on(folder, job, execution=execution)
    again.advance(0.0)
    assert {work.training.step for work in again.now.works} == {9}, "it goes on from the checkpoint at the sixth update"
    assert len(again.now.works) == {"together": 2, "alone": 1}[execution]
    finished(again)
    rows = rows_of(folder)
    assert sorted(row["trial_id"] for row in rows) == sorted(member.trial_id for member in job.members)
    assert [row for row in rows if row in stored] == stored, "not trained again"
    finished(work_on(tmp_path / "whole", job, execution=execution))
    found, expected = (rows_of(each, *CHANGING) for each in (folder, tmp_path / "whole"))
    if execution == "alone":
        assert sorted(found, key=str) == sorted(expected, key=str)
    else:
        close(found, expected)


def test_a_failure_costs_its_own_members_only(tmp_path, monkeypatch):
    job = mixed_job(others(3))
    wrong = job.members[1].trial_id
    plain = RunningTraining.advance

    def advance(self, at_least_s):
        if self.siblings.members[0].trial_id == wrong:
            raise RuntimeError("this one")
        return plain(self, at_least_s)

    def raising(self, at_least_s):
        raise RuntimeError("one of them")

    monkeypatch.setattr(RunningTraining, "advance", advance)
    monkeypatch.setattr(RunningProgram, "advance", raising)
    work = work_on(tmp_path, job)
    scores = finished(work)
    assert {key[0] for key in scores} == {m.trial_id for m in job.members} - {wrong}
    assert list(work.failures) == [job.members[1].key]


def test_what_walks_is_trained_by_itself(tmp_path):
    job = mixed_job(others(2), stage="confirm")
    work = work_on(tmp_path, job, walk=Walk(epochs=(1,)))
    work.advance(0.0)
    assert isinstance(work.now, RunningTraining)
    watched = work_on(tmp_path / "b", job)
    watched.advance(0.0)
    assert isinstance(watched.now, RunningProgram)
    assert {row.name for row, _ in watched.now.works[1].history} >= {"train_loss", "running_train_loss", "lr"}


def test_a_compiled_stack_is_filled_up_and_stores_what_each_trial_alone_stores(tmp_path, monkeypatch):
    monkeypatch.setattr(CompiledStack.__init__, "__defaults__", ("eager",))
    job = mixed_job(others(3))
    work = work_on(tmp_path / "a", job, largest=4, execution="compiled_together")
    assert not work.advance(0.0)
    assert isinstance(work.now, RunningProgram)
    assert work.now.stack.program is not None
    assert len(work.now.stack.filled) == 4
    finished(work)
    finished(work_on(tmp_path / "b", job, execution="alone"))
    rows = rows_of(tmp_path / "a", *CHANGING)
    assert {row["execution"] for row in rows} == {"compiled_together"}
    close(rows, rows_of(tmp_path / "b", *CHANGING))


def test_what_walks_beside_compiled_stacks_is_not_compiled_by_itself(tmp_path):
    work = work_on(
        tmp_path, mixed_job(others(1), stage="confirm"), execution="compiled_together", walk=Walk(epochs=(1,))
    )
    work.advance(0.0)
    assert isinstance(work.now, RunningTraining)
    assert work.now.training.execution == "together"


def test_stacks_are_timed_up_to_what_a_job_holds():
    found = seconds_in_stacks(FIRST, parts_of(FIRST), 6)
    assert set(found) <= {4, 6}
    assert 4 in found
    assert min(found.values()) > 0
    assert seconds_in_stacks(FIRST, parts_of(FIRST), 1) == {}
    assert running_program.TOGETHER == "together"

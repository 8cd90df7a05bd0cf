"""What is tried again after a worker died, and which node gets no more jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_lb.search.job import Job, Member
from tune_lb.tuning.deaths import Death, death_of, memory_kills
from tune_lb.tuning.job_tries import OUTSIDE_TIMES, JobTries

UNKNOWN = Death("the worker died", False)
ITSELF = Death("died of SIGSEGV", True)
KILLED = Death("killed", False, outside=True)
LOST = Death("the node was lost", False, outside=True, lost=True)


def job(arm: str, number: int = 0) -> Job:
    return Job(arm, "search", (Member(None, f"{arm}{number}", 0),))  # type: ignore[arg-type]


@pytest.mark.parametrize(("death", "tries"), [(UNKNOWN, 3), (ITSELF, 2)])
def test_a_job_is_tried_a_few_times(death: Death, tries: int) -> None:
    found = JobTries()
    assert [found.again(job("a"), death) for _ in range(tries)] == [True] * (tries - 1) + [False]
    assert found.again(job("b"), death), "another job has tries of its own"


@pytest.mark.parametrize("death", [KILLED, LOST])
def test_what_comes_from_outside_is_no_failure_of_the_job(death: Death) -> None:
    found = JobTries()
    assert all(found.again(job("a"), death) for _ in range(OUTSIDE_TIMES))
    assert [found.again(job("a"), UNKNOWN) for _ in range(3)] == [True, True, False], "of those that count it had none"


def test_a_node_on_which_jobs_fail_in_a_row_is_set_aside_and_its_failures_count_for_nothing() -> None:
    found = JobTries()
    found.trained(job("a", 0), "good")
    found.again(job("a", 1), UNKNOWN, "bad")
    found.failed(job("a", 2), "bad", "no space left")
    assert found.set_aside == {}
    assert found.again(job("a", 1), UNKNOWN, "bad")
    assert found.set_aside == {"bad": "the worker died"}
    assert [found.again(job("a", 1), UNKNOWN, "good") for _ in range(3)] == [True, True, False]


def test_a_node_is_not_blamed_for_an_arm() -> None:
    """One that is trained nowhere, whatever else is; and a job that is trained ends a row."""
    found = JobTries()
    found.trained(job("b"), "good")
    for number in range(9):
        found.failed(job("a", number), "other", "ValueError")
    assert found.set_aside == {}
    found.trained(job("b", 1), "other")
    found.failed(job("b", 2), "other", "ValueError")
    found.failed(job("b", 3), "other", "ValueError")
    found.trained(job("b", 4), "other")
    found.failed(job("b", 5), "other", "ValueError")
    assert found.set_aside == {}


def test_the_last_node_that_works_is_never_set_aside() -> None:
    found = JobTries()
    found.trained(job("a"), "one")
    found.trained(job("a"), "two")
    for number in range(3):
        found.failed(job("a", number), "one", "broken")
    for number in range(9):
        found.failed(job("a", number), "two", "broken")
    assert set(found.set_aside) == {"one"}


def test_a_node_whose_arms_are_trained_elsewhere_later_is_set_aside_then() -> None:
    found = JobTries()
    for number in range(3):
        found.failed(job("a", number), "bad", "broken")
    assert found.set_aside == {}
    found.trained(job("a", 4), "good")
    assert set(found.set_aside) == {"bad"}


NODE = """The actor died unexpectedly before finishing this task.
\tclass_name: JobTrainable
\tactor_id: 6821adc08213899c448ebab501000000
\tpid: 41
\tip: 10.0.0.3
The actor died because its node has died. Node Id: 3f2a"""

WORKER = NODE.replace("The actor died because its node has died. Node Id: 3f2a", "The worker process has died.")


def test_what_ray_says_of_a_death(tmp_path: Path) -> None:
    (tmp_path / "worker-1-2-41.err").write_text("last words")
    assert (death_of(NODE, tmp_path).outside, death_of(NODE, tmp_path).lost) == (True, True)
    gone = death_of(
        "The actor 8a9485 is unavailable: The actor is temporarily unavailable: RpcError: recvmsg", tmp_path
    )
    assert (gone.outside, gone.lost) == (True, False), "what is said of a lost node at first"
    assert death_of(WORKER, tmp_path) == Death("the worker was killed from outside (SIGKILL)", False, True)
    full = death_of(WORKER, tmp_path, memory_was_full=True)
    assert (full.itself, full.outside) == (True, False)
    assert "memory was full" in full.cause
    assert death_of(WORKER, None).outside is False, "on another machine nobody knows"


def test_processes_that_the_system_killed_are_counted(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 3\n")
    (tmp_path / "events").write_text("low 0\noom 5\noom_kill 2\noom_group_kill 0\n")
    assert memory_kills([tmp_path / "vmstat", tmp_path / "events", tmp_path / "none"]) == 5

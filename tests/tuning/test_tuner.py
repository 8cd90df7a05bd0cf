"""What stands between the pure search and Tune: deaths of workers, and what may be pickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.search import Searcher

from tests.search.test_planner import FACTS, compared
from tune_lb.results.ledger import Ledger
from tune_lb.results.storage import Store
from tune_lb.search.job import Job
from tune_lb.search.planner import Search
from tune_lb.tuning import planned_searcher
from tune_lb.tuning.deaths import Death
from tune_lb.tuning.planned_searcher import DEAD_ARMS, DEATHS_OF_ARM, PlannedSearcher, ProgressCallback


@pytest.fixture
def searcher(tmp_path: Path) -> PlannedSearcher:
    return PlannedSearcher(Search(compared(), FACTS), Ledger(Store(tmp_path)), attempt="1")


class Actor:
    """Ray's handle of a worker, as far as it is looked at."""

    def __init__(self, name: str) -> None:
        self.name, self._actor_id = name, SimpleNamespace(hex=lambda: name)


def errors(searcher: PlannedSearcher, trial_id: str) -> dict[str, str]:
    return {"errors": json.dumps([[*member.key, [0.1, 0.1, 0.1]] for member in searcher.jobs[trial_id].members])}


def die(searcher: PlannedSearcher, name: str, cause: str, *, itself: bool) -> Job:
    job = searcher.suggest(name)
    assert isinstance(job, dict)
    searcher.ended[name] = Death(cause, itself)
    searcher.on_trial_complete(name, error=True)
    return job["job"]


def test_after_arm_upon_arm_has_died_no_worker_is_started(searcher: PlannedSearcher) -> None:
    arms = [
        die(searcher, str(number), "the worker died: no space left", itself=True).arm for number in range(DEAD_ARMS)
    ]
    assert len(set(arms)) == DEAD_ARMS
    assert searcher.suggest("next") == Searcher.FINISHED
    assert searcher.stopped
    assert not searcher.search.finished, "so the search ends as stopped"
    reasons = {f"arm {arm!r} is set aside: the worker died: no space left" for arm in arms}
    assert set(searcher.search.failed.values()) == reasons
    assert {event.facts["reason"] for event in searcher.ledger.events()} == reasons


@pytest.mark.parametrize("itself", [True, False])
def test_an_arm_whose_workers_die_is_set_aside_and_the_others_go_on(searcher: PlannedSearcher, itself: bool) -> None:
    """At once where the job ended its worker itself, for it will again; else the second time, for somebody may have killed it."""
    first = die(searcher, "a", "died of SIGSEGV", itself=itself)
    if not itself:
        assert searcher.set_aside == {}
        job = searcher.suggest("b")
        while job["job"].arm != first.arm:  # type: ignore[index]
            job = searcher.suggest("b")
        searcher.ended["b"] = Death("killed", itself=False)
        searcher.on_trial_complete("b", error=True)
        assert DEATHS_OF_ARM == 2
    assert set(searcher.set_aside) == {first.arm}
    number, arms = 0, []
    while isinstance(job := searcher.suggest(f"{number}"), dict):
        arms.append(job["job"].arm)
        searcher.on_trial_complete(f"{number}", errors(searcher, f"{number}"))
        number += 1
    assert first.arm not in arms
    assert len(set(arms)) >= 2
    assert job == Searcher.FINISHED
    assert searcher.search.finished
    assert not searcher.stopped
    assert all(repr(first.arm) in reason for reason in searcher.search.failed.values())


def test_a_storage_that_fails_ends_the_search_and_fails_no_member(searcher: PlannedSearcher) -> None:
    assert isinstance(searcher.suggest("a"), dict)
    searcher.on_trial_complete("a", {"errors": "[]", "failures": "[]", "storage": "storage: cannot write x"})
    assert searcher.suggest("b") == Searcher.FINISHED
    assert searcher.storage_problem == "storage: cannot write x"
    assert searcher.search.failed == {}


def test_a_silent_worker_is_ended_once_and_its_job_is_not_tried_again(
    searcher: PlannedSearcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[Actor] = []
    now = [0.0]
    monkeypatch.setattr(planned_searcher, "ray", SimpleNamespace(kill=killed.append))
    monkeypatch.setattr(planned_searcher, "time", SimpleNamespace(monotonic=lambda: now[0]))
    callback = ProgressCallback(lambda final: None, searcher, lambda job: 100.0)
    trials = [
        SimpleNamespace(trial_id=name, get_error=lambda: None, temporary_state=SimpleNamespace(ray_actor=Actor(name)))
        for name in "ab"
    ]
    for trial in trials:
        assert isinstance(searcher.suggest(trial.trial_id), dict)
        callback.on_trial_start(0, [], trial)
    for now[0] in (60.0, 120.0, 121.0):
        callback.on_step_end(0, [])
        callback.on_trial_result(0, [], trials[1], {})
    assert [actor.name for actor in killed] == ["a"]
    job = searcher.jobs["a"]
    searcher.on_trial_complete("a", error=True)
    assert set(searcher.search.failed) == {member.key for member in job.members}
    assert all("no sign of life for 100 s" in reason for reason in searcher.search.failed.values())


def failures(searcher: PlannedSearcher, trial_id: str) -> dict[str, str]:
    failed = [[*member.key, "ValueError"] for member in searcher.jobs[trial_id].members]
    return {"errors": "[]", "failures": json.dumps(failed)}


@pytest.mark.parametrize("result", ["errors", "failure"])
def test_a_job_that_comes_back_shows_that_workers_live(searcher: PlannedSearcher, result: str) -> None:
    for number in range(8):
        assert isinstance(searcher.suggest(str(number)), dict)
        if number % 2:
            back = errors(searcher, str(number)) if result == "errors" else failures(searcher, str(number))
            searcher.on_trial_complete(str(number), back)
        else:
            searcher.on_trial_complete(str(number), error=True)
    assert isinstance(searcher.suggest("next"), dict)


def test_tune_may_pickle_the_callback_whatever_it_holds(searcher: PlannedSearcher) -> None:
    def watch(final: bool) -> None:
        raise AssertionError(final)

    # Tune pickles its callbacks into its own state: a closure over the whole search, with its data, must stay out of it
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(watch)
    assert isinstance(pickle.loads(pickle.dumps(ProgressCallback(watch, searcher))), ProgressCallback)

"""What stands between the pure search and Tune: deaths of workers, and what may be pickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from tests.search.test_planner import FACTS, compared
from tune_lb.results.ledger import Ledger
from tune_lb.results.storage import Store
from tune_lb.search.planner import Search
from tune_lb.tuning.tuner import MAX_DEATHS, PlannedSearcher, ProgressCallback


@pytest.fixture
def searcher(tmp_path: Path) -> PlannedSearcher:
    return PlannedSearcher(Search(compared(), FACTS), Ledger(Store(tmp_path)), attempt="1")


def errors(searcher: PlannedSearcher, trial_id: str) -> dict[str, str]:
    return {"errors": json.dumps([[*member.key, [0.1, 0.1, 0.1]] for member in searcher.jobs[trial_id].members])}


def test_after_some_deaths_in_a_row_no_worker_is_started(searcher: PlannedSearcher) -> None:
    for number in range(MAX_DEATHS):
        assert isinstance(searcher.suggest(str(number)), dict)
        searcher.death_reasons[str(number)] = "the worker died: no space left"
        searcher.on_trial_complete(str(number), error=True)
    assert searcher.suggest("next") == Searcher.FINISHED
    assert not searcher.search.finished, "so the search ends as stopped"
    assert set(searcher.search.failed.values()) == {"the worker died: no space left"}
    assert {event.facts["reason"] for event in searcher.ledger.events()} == {"the worker died: no space left"}


def failures(searcher: PlannedSearcher, trial_id: str) -> dict[str, str]:
    failed = [[*member.key, "ValueError"] for member in searcher.jobs[trial_id].members]
    return {"errors": "[]", "failures": json.dumps(failed)}


@pytest.mark.parametrize("result", ["errors", "failure"])
def test_a_job_that_comes_back_shows_that_workers_live(searcher: PlannedSearcher, result: str) -> None:
    for number in range(2 * MAX_DEATHS):
        assert isinstance(searcher.suggest(str(number)), dict)
        if number % 3 == 2:
            back = errors(searcher, str(number)) if result == "errors" else failures(searcher, str(number))
            searcher.on_trial_complete(str(number), back)
        else:
            searcher.on_trial_complete(str(number), error=True)
    assert isinstance(searcher.suggest("next"), dict)


def test_tune_may_pickle_the_callback_whatever_it_holds() -> None:
    def watch(final: bool) -> None:
        raise AssertionError(final)

    # Tune pickles its callbacks into its own state: a closure over the whole search, with its data, must stay out of it
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(watch)
    assert isinstance(pickle.loads(pickle.dumps(ProgressCallback(watch, {}))), ProgressCallback)

"""No number moves unless somebody says so: trainings, a search, and the analysis of the committed runs."""

from __future__ import annotations

import pytest

from tests.same_numbers import RUNS, analysed, is_slow, problems, record, searched, trained, trials
from tune_lb.cli.best import selected_trials
from tune_lb.cli.runs import space_of_run
from tune_lb.results.run_files import read_space
from tune_lb.results.storage import Store
from tune_lb.space.description import description, space_hash
from tune_lb.space.old_fields import trained_alike
from tune_lb.tuning.replay import of_old_design, replayed_run, selected_ids

COMMITTED = [pytest.param(name, marks=[pytest.mark.slow] if "remedies" in name else []) for name in RUNS]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if is_slow(name) else []) for name in trials()]
)
def test_a_training_ends_where_it_ended(name):
    assert problems(trained(name), record()["found"][f"trial {name}"]) == []


def test_a_search_trains_the_same_members():
    assert problems(searched(), record()["found"]["search"]) == []


@pytest.mark.parametrize("run", COMMITTED)
def test_the_committed_runs_say_what_they_said(run):
    found, stated = analysed(run), record()["found"][f"run {run}"]
    assert problems(found, stated) == []
    assert {name for name in stated["columns"] if found["columns"].get(name) != stated["columns"][name]} == set()


@pytest.mark.parametrize("run", list(RUNS))
def test_the_committed_runs_are_those_of_their_spaces(run):
    """The space is what it was, or trains what it trained where the design of the search was another; so are the selections."""
    store = Store(str(RUNS[run]))
    known = read_space(store)
    space = space_of_run(known)
    if of_old_design(known):
        was, now = trained_alike(known["resolved"], description(space))
        assert was == now
    else:
        assert space_hash(space) == known["hash"]
        assert selected_ids(replayed_run(store, space, known)) == known["selected"]
    assert selected_trials(store, space, known).keys() == known["selected"].keys()

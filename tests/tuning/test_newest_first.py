"""A worker that is free takes the newest job, so that those that start for older ones are left to start."""

from __future__ import annotations

from types import SimpleNamespace

from tune_lb.tuning.newest_first import NewestFirst


def chosen(*statuses: str) -> int | None:
    trials = [SimpleNamespace(status=status, number=number) for number, status in enumerate(statuses)]
    live = {id(trial): trial for trial in trials if trial.status != "TERMINATED"}.values()
    found = NewestFirst().choose_trial_to_run(
        SimpleNamespace(get_trials=lambda: trials, get_live_trials=lambda: list(live))
    )
    return None if found is None else found.number


def test_the_newest_of_those_that_wait() -> None:
    assert chosen("TERMINATED", "PENDING", "RUNNING", "PENDING", "RUNNING") == 3
    assert chosen("TERMINATED", "PENDING", "RUNNING") == 1
    assert chosen("TERMINATED", "RUNNING") is None
    assert chosen() is None

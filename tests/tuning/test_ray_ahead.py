"""Ray that starts before it is needed: once, only on this machine, and ended whatever happens."""

from __future__ import annotations

import contextlib
import threading

import pytest
import torch
from ray.tune.execution import class_cache

from tune_lb.tuning import ray_ahead, request
from tune_lb.tuning.cluster import Session
from tune_lb.tuning.quiet_ray import environment_inherited
from tune_lb.tuning.ray_ahead import RayAhead
from tune_lb.tuning.timed_updates import clock_of


@pytest.fixture
def seen(monkeypatch):
    """What happens to Ray, in order."""
    found = []

    @contextlib.contextmanager
    def session(address, cpus):
        found.append(f"starts {address}" if cpus is None else f"starts with {cpus:g} CPUs")
        try:
            yield Session("head", "", None)
        finally:
            found.append("ends")

    monkeypatch.setattr(ray_ahead, "ray_session", session)
    return found


def test_what_was_started_ahead_is_what_the_search_uses(seen):
    with RayAhead(None) as ahead:
        ahead.start()
        assert seen == ["starts None"]
        with ahead.session() as session:
            assert session.head == "head"
        assert seen == ["starts None", "ends"]
    assert seen == ["starts None", "ends"]


def test_it_is_asked_how_many_cpus_workers_are_to_have_when_it_starts(seen):
    asked = []
    with RayAhead(None, lambda: asked.append("cpus") or 2.0) as ahead:
        assert asked == []
        ahead.start()
    assert (asked, seen) == (["cpus"], ["starts with 2 CPUs", "ends"])
    with RayAhead("auto", lambda: asked.append("of a cluster")) as ahead, ahead.session():
        pass
    assert asked == ["cpus"]


@pytest.mark.parametrize(
    ("asked", "cpus"),
    [
        ({}, 8.0),
        ({"max_concurrent": 1}, 1.0),
        ({"max_concurrent": 3, "cpus_per_trial": 2.0}, 6.0),
        ({"max_concurrent": 20, "cpus_per_trial": 3.0}, 6.0),
        ({"gpus_per_trial": 0.5}, 4.0),
        ({"gpus_per_trial": "auto", "max_concurrent": 1}, None),
    ],
)
def test_workers_that_are_not_asked_for_are_not_started(asked, cpus, monkeypatch):
    """On this machine of 8 CPUs and, where they are asked for, 2 GPUs."""
    gpus = 2.0 if "gpus_per_trial" in asked else 0.0
    monkeypatch.setattr(request, "this_machine", lambda: [{"CPU": 8.0, "GPU": gpus}])
    assert request.cpus_here(request.Request(space=None, name="a", run=None, asked={}, **asked)) == cpus


def test_a_cluster_is_connected_to_when_it_is_needed(seen):
    with RayAhead("auto") as ahead:
        ahead.start()
        assert seen == []
        with ahead.session():
            assert seen == ["starts auto"]


def test_what_is_refused_after_the_start_ends_ray(seen):
    with contextlib.suppress(ValueError), RayAhead(None) as ahead:
        ahead.start()
        raise ValueError
    assert seen == ["starts None", "ends"]


def test_an_interrupted_search_ends_ray(seen):
    with contextlib.suppress(KeyboardInterrupt), RayAhead(None) as ahead, ahead.session():
        raise KeyboardInterrupt
    assert seen == ["starts None", "ends"]


def test_tunes_workers_have_the_environment_that_rays_have_for_the_time_of_a_search():
    before = [class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE]
    assert all(before)
    with environment_inherited():
        assert not any([class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE])
    assert before == [class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE]


@pytest.mark.parametrize(("threads", "waiting_counts"), [(1, False), (2, True)])
def test_updates_are_timed_by_the_work_of_their_thread_where_it_does_all_of_it(threads, waiting_counts):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        clock = clock_of(torch.device("cpu"))
        started = clock()
        threading.Event().wait(0.05)  # waiting is no work
        assert (clock() - started >= 0.05) == waiting_counts
    finally:
        torch.set_num_threads(before)

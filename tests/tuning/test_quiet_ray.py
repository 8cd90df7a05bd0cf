"""Ray as searches use it does nothing that nobody asked for."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from ray.air._internal import usage
from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

from tune_lb.tuning.deaths import death_of
from tune_lb.tuning.quiet_ray import tune


def test_counting_callbacks_for_a_report_that_is_off_imports_no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow", "wandb"):
        monkeypatch.delitem(sys.modules, f"ray.air.integrations.{name}", raising=False)
    usage.tag_callbacks([tune.Callback()])
    assert not {"ray.air.integrations.mlflow", "ray.air.integrations.wandb"} & sys.modules.keys()


def test_a_worker_that_ray_ends_over_memory_in_the_middle_of_a_job_is_a_dead_worker(monkeypatch) -> None:
    seen = []
    # not made as Ray makes it, which starts Ray
    manager = object.__new__(RayActorManager)
    manager._failed_actor_ids = set()
    monkeypatch.setattr(manager, "_cleanup_actor", lambda tracked_actor: None, raising=True)
    actor = Mock(actor_id=1, _on_error=lambda actor, error: seen.append(error))
    ray_actor = SimpleNamespace(train=SimpleNamespace(remote=lambda: "what Ray gives"))
    manager._live_actors_to_ray_actors_resources = {actor: (ray_actor, None)}
    manager._tracked_actors_to_task_futures = {actor: set()}
    told = []
    events = SimpleNamespace(track_future=lambda future, on_result, on_error: told.append(on_error))
    manager._actor_task_events = events
    manager._schedule_tracked_actor_task(
        SimpleNamespace(_tracked_actor=actor, _on_error=None), "train", args=(), kwargs={}
    )
    # what Ray calls when the task fails
    told[0](OutOfMemoryError("1 worker(s) were killed due to the node running low on memory."))
    assert isinstance(seen[0], RayActorError)
    assert "memory was full" in death_of(str(seen[0]), None).cause

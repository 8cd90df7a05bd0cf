"""Ray Tune as a search needs it: silent, without state of its own beside the results. Import `tune` and `Searcher` from here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
}
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)

from ray import tune  # noqa: E402  (Ray reads these variables when it is imported)
from ray.air._internal import usage  # noqa: E402
from ray.air.execution._internal import RayActorManager  # noqa: E402
from ray.exceptions import RayActorError, RayError, RayTaskError  # noqa: E402
from ray.tune.execution import class_cache  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

# nothing is reported, and Ray counts callbacks for the report all the same: for that it imports mlflow, wandb, comet and aim where
# they are installed, which takes seconds
if hasattr(usage, "tag_callbacks"):
    usage.tag_callbacks = lambda callbacks: False

_task_failed = RayActorManager._actor_task_failed


def _task_or_actor_failed(manager: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
    """Take what Ray says of a worker that it ended, as for want of memory, for the death of that worker.

    Where a job was under way, Ray says it by errors that its own manager of actors does not know, and the whole search would end.
    """
    if isinstance(exception, RayError) and not isinstance(exception, (RayActorError, RayTaskError)):
        exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
    _task_failed(manager, tracked_actor_task, exception)


RayActorManager._actor_task_failed = _task_or_actor_failed


@contextlib.contextmanager
def environment_inherited() -> Iterator[None]:
    """Let Tune's workers be the ones that Ray starts with, for the time of the block: for a machine of one's own.

    Tune gives each worker some variables anew, which its processes have from this one anyway; Ray takes that for another
    environment, leaves the workers that are ready, and starts others, which import everything again.
    """
    with contextlib.ExitStack() as changed:
        for name, nothing in (("DEFAULT_ENV_VARS", {}), ("ENV_VARS_TO_PROPAGATE", frozenset())):
            if hasattr(class_cache, name):
                changed.callback(setattr, class_cache, name, getattr(class_cache, name))
                setattr(class_cache, name, nothing)
        yield


__all__ = ["QUIET", "Searcher", "environment_inherited", "tune"]

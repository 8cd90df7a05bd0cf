"""Ray Tune as a search needs it: silent, without state of its own beside the results. Import `tune` and `Searcher` from here."""

from __future__ import annotations

import os

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
from ray.tune.search import Searcher  # noqa: E402

# nothing is reported, and Ray counts callbacks for the report all the same: for that it imports mlflow, wandb, comet and aim where
# they are installed, which takes seconds
if hasattr(usage, "tag_callbacks"):
    usage.tag_callbacks = lambda callbacks: False

__all__ = ["QUIET", "Searcher", "tune"]

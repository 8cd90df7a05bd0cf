"""Which trial of Tune's runs next: a worker that starts is left to start, and one that is free takes what was asked last."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import FIFOScheduler

PENDING = "PENDING"


class NewestFirst(FIFOScheduler):  # type: ignore[misc]
    """Chooses the trial that was added last.

    Tune gives a worker that is free to the trial that is chosen, and ends the worker that was starting for it. With the oldest one
    chosen, a worker that takes longer to start than jobs take never comes to work, on a new node or after a death; the newest one
    has no worker that starts.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the trial, or None. Looks at the trials that live, the newest of which are at the end of all."""
        if not any(trial.status == PENDING for trial in tune_controller.get_live_trials()):
            return None
        return next((trial for trial in reversed(tune_controller.get_trials()) if trial.status == PENDING), None)

"""The Ray Tune trainable: one actor that works off one job after another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from ray import tune

from tune_lb.data.device import OnDevice
from tune_lb.space.sources import Source, install
from tune_lb.tuning.run_context import RunContext
from tune_lb.tuning.running_job import RunningJob, store_failure

REPORT_EVERY_S = 1.0


class JobTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains the members of `config["job"]`, a second at a time, and stores them before its last result.

    An exception in the training is a result too: it is stored as a failed member and reported, so that Ray's retries are left
    for what they are good for, a worker that died.
    """

    def setup(
        self, config: dict[str, Any], context: RunContext, sources: Mapping[str, Source], threads: int, device: str
    ) -> None:
        """Begin the first job. Data are put on the device when a job first needs them."""
        install(sources)
        torch.set_num_threads(threads)
        self.context = context
        self.device = torch.device(device)
        self.on_device = OnDevice(self.device)
        self.begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another job in the same process."""
        self.begin(new_config)
        return True

    def begin(self, config: dict[str, Any]) -> None:
        """Take up a job; it is built in the first step, where its errors are caught."""
        self.job = config["job"]
        self.work: RunningJob | None = None

    def step(self) -> dict[str, Any]:
        """Train on; the last result holds the members' scores (as JSON: Tune flattens what is nested), or why not."""
        try:
            if self.work is None:
                # data that were there before are not put there again
                parts = self.on_device.parts(self.context.data_of(self.job.trial))
                self.work = RunningJob(self.job, parts, self.context)
            if not self.work.advance(REPORT_EVERY_S):
                return {"done": False, "epoch": self.work.training.epoch}
            errors = self.work.finish()
        # whatever a user's model raises is that member's outcome, not the end of the search; so is sys.exit() in it
        except (Exception, SystemExit) as error:
            self.work = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            return {"done": True, "epoch": 0.0, "failure": store_failure(self.job, self.context, error)}
        epoch, self.work = self.work.training.epoch, None
        return {"done": True, "epoch": epoch, "errors": json.dumps(errors)}

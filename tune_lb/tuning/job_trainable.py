"""The Ray Tune trainable: one actor that works off one job after another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ray import tune

from tune_lb.data.device import OnDevice, Parts
from tune_lb.results.storage import StorageError
from tune_lb.results.waiting import start_to_wait
from tune_lb.search.job import MemberKey
from tune_lb.space.sources import Source, install
from tune_lb.training.device_memory import DeviceMemory
from tune_lb.training.trial import Trial
from tune_lb.tuning.deaths import say_exits
from tune_lb.tuning.node_report import code_hash
from tune_lb.tuning.ray_processes import take_sigterm
from tune_lb.tuning.run_context import RunContext
from tune_lb.tuning.running_job import RunningJob, store_failure

REPORT_EVERY_S = 1.0

SHARE = "share"
"""In what a worker is asked: the share of a GPU that it has, where that is not the one of all."""


class JobTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains the members of `config["job"]`, a second at a time, and stores them before its last result.

    An exception in a training is a result too: it is stored as failed members and reported, so that Ray's retries are left
    for what they are good for, a worker that died.
    """

    def setup(
        self,
        config: dict[str, Any],
        context: RunContext,
        sources: Mapping[str, Source],
        threads: int,
        device: str,
        share: float = 1.0,
        code: str = "",
    ) -> None:
        """Begin the first job. Data are put on the device when a job first needs them.

        share: of a GPU, which is held to. code: hash of tune_lb's, which is looked at where it is given: nodes may come later.
        """
        here = code_hash(str(Path(__file__).parent.parent)) if code else ""
        if here != code:
            raise RuntimeError(
                f"this node has other code of tune_lb ({here}, not {code}): install the same on every node"
            )
        take_sigterm()
        say_exits()
        start_to_wait()
        install(sources)
        torch.set_num_threads(threads)
        self.context = context
        self.on_device = OnDevice(torch.device(device))
        self.share = float(config.get(SHARE, share)) or 1.0
        if self.on_device.device.type == "cuda" and self.share < 1.0:
            DeviceMemory(self.on_device.device).limit(self.share)
        self.begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another job in the same process."""
        self.begin(new_config)
        return True

    def begin(self, config: dict[str, Any]) -> None:
        """Take up a job; it is built in the first step, where its errors are caught."""
        self.job = config["job"]
        self.work: RunningJob | None = None

    def _parts(self, trial: Trial) -> Parts:
        """Return the data of a trial on the device; data that were there before are not put there again."""
        return self.on_device.parts(self.context.data_of(trial))

    def step(self) -> dict[str, Any]:
        """Train on; the last result holds the members' scores and why others have none (as JSON: Tune flattens what is nested)."""
        storage = ""
        try:
            if self.work is None:
                self.work = RunningJob(self.job, self._parts, self.context, self.share)
            if not self.work.advance(REPORT_EVERY_S):
                return {"done": False, "epoch": float(len(self.work.scores))}
            scores, failures = self.work.finish(), self.work.failures
        except StorageError as error:
            # no member's failure, and no worker's death: what was stored before stays, the search ends and can be gone on with
            scores, failures, storage = {} if self.work is None else self.work.scores, {}, str(error)
        except torch.AcceleratorError:
            # the process cannot use the GPU any more: a death of the worker, after which the job is tried again in another
            raise
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError) and self.share < 1.0:
                # a larger share may do, in another worker
                raise
            scores = {} if self.work is None else self.work.scores
            lost = [member for member in self.job.members if member.key not in scores]
            reason = store_failure(self.job, lost, self.context, error) if lost else ""
            failures = {member.key: reason for member in lost}
        self.work = None
        return {
            "done": True,
            "epoch": float(len(scores)),
            "errors": _coded(scores),
            "failures": _coded(failures),
            "storage": storage,
        }


def _coded(values: Mapping[MemberKey, Any]) -> str:
    return json.dumps([[*key, value] for key, value in values.items()])

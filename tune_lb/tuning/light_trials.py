"""What stands in for a trial where its updates are timed: a large batch through a large network takes minutes for each."""

from __future__ import annotations

import dataclasses
import time
from typing import NamedTuple

import torch

from tune_lb.data.device import Parts
from tune_lb.training.phased_training import begun
from tune_lb.training.trial import Trial
from tune_lb.training.ways import AUTO
from tune_lb.tuning.timed_updates import TIMED_S

PROBED = 32
"""Examples of the update that tells how long the trial's own would take."""

AIMED_S = 0.5
"""What an update of a trial that stands in for another takes, about."""


class Light(NamedTuple):
    """A trial whose updates are timed, and how many times as long an update of the trial meant takes."""

    trial: Trial
    times: float

    @property
    def is_itself(self) -> bool:
        """Whether it is the trial meant."""
        return self.times == 1.0


def light(trial: Trial, parts: Parts, microbatch: int | str | None = AUTO) -> Light:
    """Return the trial itself where its update takes at most TIMED_S, else one without remedies and phases of a smaller batch.

    An update is taken to be in proportion to its examples and gradients, as it is where it takes seconds. Cost: two updates of
    PROBED examples.
    """
    if trial.batch_size <= PROBED:
        return Light(trial, 1.0)
    probe = dataclasses.replace(trial, remedies=(), phases=(), batch_size=PROBED)
    try:
        training = begun(probe, [0], parts, microbatch=microbatch)
        for _ in range(2):
            started = time.perf_counter()
            training.advance(1e-9)
            if training.device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - started
    # the user's code, at another batch size than it is meant for: the trial itself says what it cannot do
    except (Exception, SystemExit):
        return Light(trial, 1.0)
    if seconds * trial.batch_size / PROBED * trial.evaluations_per_update <= TIMED_S:
        return Light(trial, 1.0)
    size = min(trial.batch_size, max(PROBED, int(PROBED * AIMED_S / seconds)))
    return Light(dataclasses.replace(probe, batch_size=size), trial.batch_size / size * trial.evaluations_per_update)

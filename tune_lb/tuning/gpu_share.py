"""The share of a GPU that a worker needs, found by training: what `--gpus-per-trial auto` asks Ray for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tune_lb.data.device import Parts
from tune_lb.errors import RequestError
from tune_lb.observation.outcome import outcomes
from tune_lb.training.device_memory import CONTEXT_BYTES, DeviceMemory
from tune_lb.training.microbatch_size import rehearse
from tune_lb.training.phased_training import begun
from tune_lb.training.stack import Stack
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.tuning.execution_choice import Execution
from tune_lb.tuning.memory_need import size
from tune_lb.tuning.running_program import COMPILED_TOGETHER, TOGETHER

MARGIN = 1.2
"""What is asked for, as a multiple of what was seen: allocators leave gaps, and metrics take their own."""

MOST_WORKERS = 16
"""Most workers that share a GPU: more of them compute no faster."""


def share_for(need_bytes: float, total_bytes: float) -> float:
    """Return the share of a GPU, 1/n with a whole n up to MOST_WORKERS, that holds the need of a worker; 1 where none does.

    need_bytes: of its tensors. Rounded down to what Ray counts in, ten-thousandths.
    """
    number = min(MOST_WORKERS, math.floor(total_bytes / (MARGIN * need_bytes + CONTEXT_BYTES)))
    return 1.0 if number <= 1 else math.floor(1e4 / number) / 1e4


def larger_share(share: float) -> float:
    """Return the next larger share, after a worker ran out of memory with this one: half as many workers; 1 at last."""
    number = round(1.0 / share) // 2
    return 1.0 if number <= 1 else math.floor(1e4 / number) / 1e4


def gpu_share(
    trials: Mapping[str, Trial],
    parts: Mapping[str, Parts],
    execution: Execution,
    members: int,
    microbatch: int | str | None,
    memory: DeviceMemory,
) -> tuple[float, str]:
    """Return the share that the largest arm needs, and a line that says so.

    Every arm makes its largest updates in the way in which its members will train, and evaluates what comes out. members: those of
    a stack of one trial. Cost: some updates and an evaluation of each arm. Raises RequestError where not even a whole GPU suffices.
    """
    needs = {}
    for arm, trial in trials.items():
        try:
            needs[arm] = memory.peak_bytes(
                lambda arm=arm, trial=trial: _train(  # type: ignore[misc]
                    trial, parts[arm], execution.ways[arm], execution.stacked.get(arm, 1), members, microbatch
                )
            )
        except torch.OutOfMemoryError as error:
            raise RequestError(f"arm {arm!r}: {error}") from error
    largest = max(needs, key=lambda arm: needs[arm])
    share = share_for(needs[largest], memory.total_bytes())
    count = round(1 / share)
    how_many = "one worker" if count == 1 else f"{count} workers"
    return share, (
        f"{how_many} on each GPU (--gpus-per-trial auto: {share:g}): arm {largest!r} takes {size(needs[largest])} of "
        f"{size(memory.total_bytes())}"
    )


def _train(trial: Trial, parts: Parts, way: str, stacked: int, members: int, microbatch: Any) -> None:
    """Make the updates that take most, and evaluate."""
    # a compiled step takes no more memory, and compiling it takes long
    plain = way.removeprefix("compiled_")
    if stacked > 1 and way in (TOGETHER, COMPILED_TOGETHER):
        each = [begun(trial, [seed], parts, execution="alone", microbatch=microbatch) for seed in range(stacked)]
        trainings = [training for training in each if isinstance(training, Training)]
        if len(trainings) == len(each):
            Stack(trainings).advance(1e-9)
            outcomes(trainings[0], metrics=(), wall_s=0.0)
            return
    seeds: Sequence[int] = range(members if plain == TOGETHER else 1)
    training = begun(trial, seeds, parts, execution=plain, microbatch=microbatch)
    if isinstance(training, Training):
        rehearse(training)
    else:
        training.advance(1e-9)
    outcomes(training, metrics=(), wall_s=0.0)

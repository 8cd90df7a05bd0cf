"""Updates that are timed: of members alone, of one trial together, and of several trials as one program."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from tune_lb.data.device import Parts
from tune_lb.training.phased_training import begun
from tune_lb.training.running import Running
from tune_lb.training.stack import Stack
from tune_lb.training.stacking import stack_key
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.training.ways import AUTO

TIMED_UPDATES = 4

TIMED_S = 4.0
"""No further update is timed where those before took so long together."""

ENOUGH_S = 0.15
"""Updates that are quick are timed for so long: a machine that does other work disturbs single ones."""

STACKS = (4, 8, 16, 32, 64)
"""Members of the stacks that are timed."""

GAIN = 0.98
"""A larger stack gains something where it takes at most this share of a smaller one's time per member."""


def seconds_per_update(
    trial: Trial, parts: Parts, way: str, members: int, microbatch: int | str | None = AUTO
) -> float:
    """Return the median time of an update of one member, in seconds, after one that warms up (and compiles)."""
    training = begun(trial, range(members), parts, execution=way, microbatch=microbatch)
    return _seconds_of(training, training) / members


def seconds_in_stacks(
    trial: Trial,
    parts: Parts,
    most: int,
    microbatch: int | str | None = AUTO,
    goes_on: Callable[[], bool] = lambda: True,
) -> dict[int, float]:
    """Return the time of an update of one member, in seconds, by how many of other seeds train as one program.

    Empty where they cannot (see stack_key). most: members of a job. Larger stacks are tried until two in a row gain nothing,
    updates take long, or `goes_on` says no. Raises what the network raises where torch.func does not go through it.
    """
    found: dict[int, float] = {}
    idle = 0
    for size in dict.fromkeys(min(size, most) for size in STACKS):
        if size < 2 or (found and not goes_on()):
            break
        members = [begun(trial, [seed], parts, execution="alone", microbatch=microbatch) for seed in range(size)]
        trainings = [member for member in members if isinstance(member, Training)]
        if len(trainings) < size or stack_key(trainings[0]) is None:
            return {}
        try:
            seconds = _seconds_of(Stack(trainings), trainings[0]) / size
        except torch.OutOfMemoryError:
            if not found:
                raise
            break
        idle = idle + 1 if found and seconds > GAIN * min(found.values()) else 0
        found[size] = seconds
        if idle == 2 or seconds * size > TIMED_S / TIMED_UPDATES:
            break
    return found


def seconds_in_compiled_stack(
    trial: Trial, parts: Parts, size: int, microbatch: int | str | None = AUTO
) -> float | None:
    """Return the time of an update of one member, in seconds, where so many train as one compiled program; None where they cannot.

    Cost: compiling it, once in a process.
    """
    members = [begun(trial, [seed], parts, execution="alone", microbatch=microbatch) for seed in range(size)]
    stack = Stack([member for member in members if isinstance(member, Training)], compiled=size)
    if stack.program is None:
        return None
    stack.advance(1e-9)
    return _seconds_of(stack, stack.trainings[0]) / size if stack.program is not None else None


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return the clock, in seconds, by which work on a device is timed: that of this thread alone where it does all of it.

    Beside other work, as Ray that starts, the time that passes says more of the other work.
    """
    return time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def _seconds_of(work: Running | Stack, training: Running) -> float:
    times: list[float] = []
    clock = clock_of(training.device)
    while not work.done and sum(times) <= TIMED_S and (len(times) < TIMED_UPDATES or sum(times) < ENOUGH_S):
        before, started = training.step, clock()
        work.advance(1e-9)
        if training.device.type == "cuda":
            torch.cuda.synchronize()
        times.append((clock() - started) / (training.step - before))
    return statistics.median(times[1:] or times)

"""Programs timed beside one another: they take turns, so that what else the machine does falls on all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def timed(call: Callable[[], object], device: str) -> float:
    """Return the seconds of a call, until the device is done."""
    started = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def in_turns(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return what each turn says that it took, in seconds, by round; in every round each has one turn."""
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            times[name].append(turn())
    return times


def median_ratio(times: list[float], others: list[float]) -> float:
    """Return the median over rounds of the ratio of two times of one round."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))

"""What a search on a busy cluster waits for: it takes what is free, and says so where its workers do not start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import ray

from tune_lb.tuning.resources import Resources

START_S = 20.0
"""What workers may take to start before it is said that they wait."""

AGAIN_S = 300.0
"""How long after it was said that workers wait it is said again; CHANGED_S where their number has changed."""

CHANGED_S = 60.0

Amounts = Mapping[str, float]


class Busy:
    """Looks whether workers wait for what others use. ask: gives what the cluster has free, and in all, as Ray counts it."""

    def __init__(
        self,
        resources: Resources,
        ask: Callable[[], tuple[Amounts, Amounts]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resources, self.ask, self.clock = resources, ask, clock
        self.since: float | None = None
        self.said: tuple[int, float] | None = None
        """How many waited when it was said last, and when."""

    def line(self, running: int, waiting: int) -> str | None:
        """Return what is to be said, given how many workers run and how many wait to start; None for nothing."""
        now = self.clock()
        if not waiting:
            self.since = None
            return None
        self.since = self.since or now
        if now - self.since < START_S:
            return None
        if self.said is not None and now - self.said[1] < (AGAIN_S if self.said[0] == waiting else CHANGED_S):
            return None
        self.said = waiting, now
        return waiting_line(running, waiting, self.resources, *self.ask())


def waiting_line(running: int, waiting: int, resources: Resources, free: Amounts, there: Amounts) -> str:
    """Return how many workers wait, for what, and what of it the cluster has."""
    asked = {"CPU": resources.cpus, "GPU": resources.gpus}
    each = " and ".join(f"{amount:g} {name}" for name, amount in asked.items() if amount)
    have = " and ".join(
        f"{free.get(name, 0):g} of {there.get(name, 0):g} {name}s" for name, amount in asked.items() if amount
    )
    rest = f"{running} work" if running else "none works yet"
    return (
        f"{waiting} worker(s) wait for {each} each, {rest}: of the cluster {have} are free, the rest is used by others or by this "
        "search; they start when something is given back, or nodes are added"
    )


def cluster_amounts() -> tuple[Amounts, Amounts]:
    """Return what the cluster has free, and in all."""
    return ray.available_resources(), ray.cluster_resources()

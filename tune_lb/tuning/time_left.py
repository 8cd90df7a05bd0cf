"""The time that a search has still to go: the estimate at first, then more and more the pace that is seen."""

from __future__ import annotations

from collections.abc import Mapping

ESTIMATE_WEIGHT = 0.1
"""Share of a search's work that must be done before the pace seen weighs as much as the estimate."""


class TimeLeft:
    """Tells the seconds left, whenever it is asked, from the jobs that run and the work that is left.

    Work is in core_s, estimated seconds of one worker. slowness = (w + seconds that finished jobs took) / (w + their work),
    with w = ESTIMATE_WEIGHT of all work; left_s = slowness times the work left, less what running jobs have had, over all
    workers. The first jobs wait for their workers to start (about start_s), so they say nothing of the pace.
    """

    def __init__(self, concurrency: int, start_s: float) -> None:
        self.concurrency, self.start_s = concurrency, start_s
        self._running: dict[str, tuple[float, float]] = {}
        """Work and first sight of the jobs that run."""
        self._first: set[str] = set()
        self._started = False
        self._weight: float | None = None
        self._seconds = self._work = 0.0

    def __call__(self, elapsed_s: float, running: Mapping[str, float], left: float) -> float | None:
        """Return the seconds left; None where nothing is known: the first results are overdue.

        elapsed_s: since the start; running: work of each job that runs; left: all work left.
        """
        if self._weight is None:
            self._weight = max(ESTIMATE_WEIGHT * left, 1e-9)
        for key in self._running.keys() - running.keys():
            work, since_s = self._running.pop(key)
            if key in self._first:
                self._started = True
            else:
                self._work += work
                self._seconds += elapsed_s - since_s
        for key in running.keys() - self._running.keys():
            if not self._started:
                self._first.add(key)
            self._running[key] = (running[key], elapsed_s if self._started else self.start_s)
        slowness = (self._weight + self._seconds) / (self._weight + self._work)
        begun = [max(0.0, slowness * work - max(0.0, elapsed_s - since_s)) for work, since_s in self._running.values()]
        if begun and not self._started and max(begun) == 0.0:
            return None
        waiting = slowness * max(0.0, left - sum(running.values()))
        left_s = max((waiting + sum(begun)) / self.concurrency, max(begun, default=0.0))
        return max(0.0, self.start_s - elapsed_s) + left_s if left > 0 else 0.0

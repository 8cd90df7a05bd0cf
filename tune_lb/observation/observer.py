"""The observer: trains to the end while it looks on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure_all
from tune_lb.metrics.metric import Metric
from tune_lb.observation.outcome import METRIC_SEED, outcomes
from tune_lb.observation.surfaces import surface_over
from tune_lb.observation.walker import Walker, walk_costs
from tune_lb.observation.watcher import Watcher
from tune_lb.space.observation import Walk, Watch
from tune_lb.training.evaluation import recalibrated
from tune_lb.training.members import HistoryRow, TrainedMember
from tune_lb.training.running import Running

CROSSINGS = (0.3, 0.1, 0.03, 0.01)
"""Train losses (nats) at whose first crossing lambda_max is stored, so that arms can be compared at equal loss."""


class Observer:
    """Trains to the end while it looks on: clean losses at epoch ends, lambda_max when the train loss crosses a threshold.

    Looking costs evaluations, not gradients, and changes nothing in the training. Without `watched` it only trains.
    """

    def __init__(
        self,
        training: Running,
        *,
        watched: bool,
        crossings: Sequence[float] = CROSSINGS,
        walk: Walk | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.training, self.watched = training, watched
        self.walker = Walker(walk, training) if watched and walk is not None else None
        self.watcher = Watcher(watch, training, METRIC_SEED) if watched and watch is not None else None
        self.crossings: dict[int, list[float]] = {}
        self.thresholds = tuple(crossings)
        self.wall_s = 0.0

    def advance(self, epochs: float = 1.0) -> list[HistoryRow]:
        """Train on and return what was seen."""
        started = time.perf_counter()
        looked = self.walker.looking_s if self.walker else 0.0
        rows = (self.walker or self.training).advance(epochs)
        self.wall_s += time.perf_counter() - started
        if self.walker:
            self.wall_s -= self.walker.looking_s - looked
        return rows + self._looked() if self.watched else rows

    def _looked(self) -> list[HistoryRow]:
        rows = self.training.evaluate() + (self.watcher.look() if self.watcher else [])
        members = {member.seed: member for member in self.training.trained()}
        for row in list(rows):
            left = self.crossings.setdefault(row.seed, list(self.thresholds))
            crossed = [limit for limit in left if row.value < limit] if row.name == "train_loss" else []
            if crossed:
                self.crossings[row.seed] = [limit for limit in left if limit not in crossed]
                found = _lambda_max(self.training, members[row.seed])
                if found is not None:
                    rows += [row._replace(name=f"lambda_max@{limit:g}", value=found) for limit in crossed]
        return rows


def _lambda_max(training: Running, member: TrainedMember) -> float | None:
    buffers = recalibrated(training.evaluation_module, member.params, member.buffers, training.parts.train)
    pair = (member.params, buffers)
    with surface_over(training.evaluation_module, pair, training.trial.loss, training.parts.train) as surface:
        found = measure_all([LambdaMax(tolerance=1e-2)], surface, METRIC_SEED)["lambda_max"]
    return found if isinstance(found, float) else None


def train_arm(
    training: Running,
    metrics: Sequence[Metric] = (),
    on_history: Callable[[HistoryRow], None] | None = None,
    walk: Walk | None = None,
    watch: Watch | None = None,
) -> Mapping[str, Any]:
    """Train the single member of a training to the end, in this process, and return its row."""
    observer = Observer(training, watched=on_history is not None, crossings=(), walk=walk, watch=watch)
    rows = []
    while not training.done:
        for row in observer.advance():
            rows.append(row)
            if on_history is not None:
                on_history(row)
    found = outcomes(training, metrics=metrics, wall_s=observer.wall_s)[0].row
    return found | walk_costs(rows).get(found["seed"], {})

"""The observer: trains to the end while it looks on."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure_all
from tune_lb.metrics.metric import Metric, Value, reason_of
from tune_lb.observation.outcome import METRIC_SEED, outcomes
from tune_lb.observation.stepping import advanced
from tune_lb.observation.surfaces import surface_over
from tune_lb.observation.travel import Travel
from tune_lb.observation.walker import Walker, walk_costs
from tune_lb.observation.watcher import Watcher
from tune_lb.space.observation import CROSSINGS, Walk, Watch
from tune_lb.training.evaluation import recalibrated
from tune_lb.training.members import HistoryRow, TrainedMember
from tune_lb.training.running import Running


class Observer:
    """Trains to the end while it looks on: clean losses at epoch ends, lambda_max when the train loss crosses a threshold.

    Looking costs evaluations, not gradients, and changes nothing in the training. Without `watched` it only trains. What
    cannot be observed leaves no row: an exception of the user's network, loss or metric never costs the member.

    unobserved: by seed what could not be observed, with the first reason.
    """

    def __init__(
        self,
        training: Running,
        *,
        watched: bool,
        crossings: Sequence[float] | None = CROSSINGS,
        walk: Walk | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.training, self.watched = training, watched
        self.walker = Walker(walk, training, self._failed) if watched and walk is not None else None
        self.watcher = Watcher(watch, training, METRIC_SEED) if watched and watch is not None else None
        self.travel = Travel(training)
        self.crossings: dict[int, list[float]] = {}
        self.thresholds = tuple(crossings or ())
        self.unobserved: dict[int, dict[str, str]] = {}
        self.wall_s = 0.0

    def advance(self, epochs: float = 1.0) -> list[HistoryRow]:
        """Train on and return what was seen."""
        steps = self.watcher.watch.steps if self.watcher else ()
        seen: list[HistoryRow] = []
        looks_s = 0.0

        def look() -> None:
            nonlocal looks_s
            before = time.perf_counter()
            seen.extend(self._looked())
            looks_s += time.perf_counter() - before

        self.travel.begin()
        if self.training.step == 0 and 0 in steps:
            seen += self._looked()
        started = time.perf_counter()
        looked = self.walker.looking_s if self.walker else 0.0
        way = self.walker.advance if self.walker else functools.partial(advanced, self.training)
        rows = way(epochs, steps, look)
        self.wall_s += time.perf_counter() - started - looks_s
        if self.walker:
            self.wall_s -= self.walker.looking_s - looked
        self.travel.stop()
        return rows + seen + self._looked() if self.watched else rows

    @property
    def looks_inside_epochs(self) -> bool:
        """Say whether it looks on between two ends of epochs, and so must train on by itself."""
        return self.walker is not None or (self.watcher is not None and bool(self.watcher.watch.steps))

    def saw(self, rows: list[HistoryRow], seconds: float) -> list[HistoryRow]:
        """Return what was seen where others trained on to the end of an epoch, for so long: as advance does.

        Before the first such epoch the travel must have begun.
        """
        self.wall_s += seconds
        self.travel.stop()
        return rows + self._looked() if self.watched else rows

    def columns(self, seed: int) -> dict[str, Value]:
        """Return what is told of a member at its end that was kept of its way: where it went, and what walking it cost."""
        found: dict[str, Value] = {}
        found |= self.travel.columns(seed, lambda error: self._failed(seed, "distance from the start", error))
        return found | (self.walker.losses.protocol() if self.walker and self.walker.walk.points else {})

    def checkpoint(self) -> dict[str, Tensor]:
        """Return the tensors that what is seen next depends on, beside the training's; call it between two calls of advance."""
        return self.walker.checkpoint() if self.walker else {}

    def restore(self, checkpoint: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint, the training's being restored."""
        if self.walker:
            self.walker.restore(checkpoint)

    def _looked(self) -> list[HistoryRow]:
        """Return what is seen now: losses, what the watch measures, and lambda_max where a loss crossing was passed."""
        rows: list[HistoryRow] = []
        try:
            rows += self.training.evaluate()
        except Exception as error:  # raised by the user's network or loss
            for seed in self._seeds():
                self._failed(seed, "losses at epoch ends", error)
        if self.watcher:
            rows += self.watcher.test_quality(self._failed) + self.watcher.look(self._failed)
        members = {member.seed: member for member in self.training.trained()}
        for row in list(rows):
            left = self.crossings.setdefault(row.seed, list(self.thresholds))
            crossed = [limit for limit in left if row.value < limit] if row.name == "train_loss" else []
            if crossed:
                self.crossings[row.seed] = [limit for limit in left if limit not in crossed]
                try:
                    found = _lambda_max(self.training, members[row.seed])
                except Exception as error:  # raised by the user's network or loss
                    self._failed(row.seed, "lambda_max at loss crossings", error)
                    continue
                if isinstance(found, float):
                    rows += [row._replace(name=f"lambda_max@{limit:g}", value=found) for limit in crossed]
                else:
                    self._unobserved(row.seed, "lambda_max at loss crossings", str(found))
        return rows

    def _seeds(self) -> list[int]:
        return [seed for group in self.training.groups for seed in group.seeds]

    def _failed(self, seed: int, what: str, error: Exception) -> None:
        self._unobserved(seed, what, reason_of(error))
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()

    def _unobserved(self, seed: int, what: str, reason: str) -> None:
        self.unobserved.setdefault(seed, {}).setdefault(what, reason)


def _lambda_max(training: Running, member: TrainedMember) -> Value:
    """Return lambda_max, or the reason why there is none."""
    buffers = recalibrated(training.evaluation_module, member.params, member.buffers, training.parts.train)
    pair = (member.params, buffers)
    with surface_over(training.evaluation_module, pair, training.trial.example_loss, training.parts.train) as surface:
        found = measure_all([LambdaMax(tolerance=1e-2)], surface, METRIC_SEED)
    return found["lambda_max"] if found["lambda_max"] is not None else found["lambda_max.reason"]


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
    return found | walk_costs(rows).get(found["seed"], {}) | observer.columns(found["seed"])

"""What looking at members takes: evaluation, metrics, and what is observed while they train, timed on a short training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tune_lb.data.device import Parts
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.metric import Metric
from tune_lb.metrics.names import as_metrics
from tune_lb.observation.outcome import outcomes
from tune_lb.space.space import Space
from tune_lb.training.plan import Plan
from tune_lb.training.running import Running

FIRST = 32
"""Examples of each part that evaluation is timed on at first."""

ENOUGH_S = 1.0
"""What takes longer is timed on as many examples as take about so long."""

METRICS_TIMED_ON = 512
"""Most examples that metrics are timed on."""

EVALUATIONS = 100
"""Evaluations of an example that a metric is taken to make, where it is decided how many examples to time it on."""


@dataclass(frozen=True)
class LookingCosts:
    """Times for one member, in seconds.

    evaluation_s: losses and errors at its end, on all parts. epoch_end_s: those of the train and validation part at an epoch end.
    metrics_s: all metrics of the space. crossing_s: one lambda_max at a loss crossing. watch_s: one look of the watch.
    """

    evaluation_s: float
    epoch_end_s: float
    metrics_s: float
    crossing_s: float
    watch_s: float

    def while_training_s(self, space: Space, plan: Plan) -> float:
        """Return what it takes to look at one of the members that are looked at while they train, all crossings included."""
        epochs = int(plan.num_epochs)
        found = epochs * self.epoch_end_s + len(space.crossings or ()) * self.crossing_s
        if space.watch is not None:
            found += sum(space.watch.looks_at(epoch) for epoch in range(1, epochs + 1)) * self.watch_s
        if space.walk is not None:
            updates = plan.num_updates / max(1.0, plan.num_epochs) * sum(epoch <= epochs for epoch in space.walk.epochs)
            found += updates * (space.walk.points + 1) * self.epoch_end_s
        return found


def looking_costs(space: Space, training: Running) -> LookingCosts:
    """Time a short training's only member, on few examples where all would take long. Cost: some seconds, however slow it is."""
    parts = training.parts
    number = _number(parts)
    _duration_s(training, (), _first(parts, 2))  # what is made only once is not counted
    few = _first(parts, FIRST)
    each_s = _duration_s(training, (), few) / _number(few)
    if each_s * number <= ENOUGH_S:
        evaluation_s = _duration_s(training, (), parts)
    else:
        more = _first(parts, max(FIRST, int(ENOUGH_S / each_s / 3)))
        evaluation_s = _duration_s(training, (), more) * number / _number(more)
    seen = len(parts.train) + len(parts.validation)
    watched = as_metrics(space.watch.metrics) if space.watch else ()
    each = _metric_costs(
        training, [*space.metrics, *watched, *([LambdaMax(tolerance=1e-2)] if space.crossings else [])], each_s
    )
    own, rest = each[: len(space.metrics)], each[len(space.metrics) :]
    return LookingCosts(
        evaluation_s=evaluation_s,
        epoch_end_s=evaluation_s * seen / number,
        metrics_s=sum(own),
        crossing_s=rest[-1] if space.crossings else 0.0,
        watch_s=sum(rest[: len(watched)]) * len(space.watch.splits if space.watch else ()),
    )


def _metric_costs(training: Running, metrics: Sequence[Metric], each_s: float) -> list[float]:
    """Return what each metric takes on one member: timed on few examples, as the whole train set may take minutes."""
    if not metrics:
        return []
    num_train = len(training.parts.train)
    timed = min(num_train, METRICS_TIMED_ON, max(4, int(ENOUGH_S / (EVALUATIONS * each_s))))
    few = _first(training.parts, timed)
    without_s = _duration_s(training, (), few)
    sizes = [min(metric.max_samples or num_train, num_train) / timed for metric in metrics]
    times = [max(0.0, _duration_s(training, (metric,), few) - without_s) for metric in metrics]
    return [size * seconds for size, seconds in zip(sizes, times, strict=True)]


def _duration_s(training: Running, metrics: Sequence[Metric], parts: Parts) -> float:
    started = time.perf_counter()
    outcomes(training, metrics=metrics, wall_s=0.0, parts=parts)
    return time.perf_counter() - started


def _first(parts: Parts, number: int) -> Parts:
    """Return the first examples of each part, so many of each."""
    return parts._replace(
        train=parts.train.first(number), validation=parts.validation.first(number), test=parts.test.first(number)
    )


def _number(parts: Parts) -> int:
    return sum(len(part) for part in parts[:3])

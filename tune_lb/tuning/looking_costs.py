"""What looking at members takes: evaluation, metrics, and what is observed while they train, timed on a short training."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from tune_lb.data.device import Parts
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure_all
from tune_lb.metrics.metric import Metric
from tune_lb.metrics.names import as_metrics
from tune_lb.observation.outcome import METRIC_SEED
from tune_lb.observation.surfaces import surface_over
from tune_lb.observation.walk_losses import Iterate, WalkLosses
from tune_lb.observation.walker import Walker
from tune_lb.space.observation import Walk
from tune_lb.space.space import Space
from tune_lb.training.evaluation import quality, recalibrated
from tune_lb.training.phased_training import begun
from tune_lb.training.running import Running
from tune_lb.training.trial import Trial
from tune_lb.tuning.looks import Looks

FIRST = 32
"""Examples that evaluation is timed on at first."""

ENOUGH_S = 0.3
"""What takes longer is timed on no more examples."""

GROWTH = 4
"""Times as many examples are timed next."""

METRICS_TIMED_ON = 512
"""Most examples that metrics are timed on at first."""

EVALUATIONS = 100
"""Evaluations of an example that a metric is taken to make, where it is decided how many examples to time it on first."""


LONGEST_S = 4.0
"""A metric that takes longer before it made EVALUATIONS passes is stopped at the next, and taken to make so many gradients."""


class Timed(NamedTuple):
    """What a look took on a number of examples, and takes for each more."""

    number: int
    seconds: float
    each_s: float

    def at(self, number: int) -> float:
        """Return what it takes on so many examples, in seconds."""
        return max(0.0, self.seconds + (number - self.number) * self.each_s)


@dataclass(frozen=True)
class LookingCosts:
    """Times of single looks at one member, in seconds; how often they come while it trains, Looks says.

    evaluation_s: losses and errors at its end, on all parts. epoch_end_s: those of the train and validation part at an epoch
    end, test_s: of the test part. metrics_s: all metrics of the space. crossing_s: one lambda_max at a loss crossing. watch_s: one
    look of the watch, over all its parts. walk_loss_s, exact_loss_s: one loss of the walk, and one in float64.
    """

    evaluation_s: float
    epoch_end_s: float
    metrics_s: float
    crossing_s: float = 0.0
    watch_s: float = 0.0
    test_s: float = 0.0
    walk_loss_s: float = 0.0
    exact_loss_s: float = 0.0

    def while_training_s(self, looks: Looks, walk_step_s: float = 0.0) -> float:
        """Return what it takes to look at one of the members that are looked at while they train. walk_step_s: see step_costs."""
        return (
            looks.losses * self.epoch_end_s
            + looks.test_losses * self.test_s
            + looks.crossings * self.crossing_s
            + looks.watches * self.watch_s
            + looks.walk_losses * self.walk_loss_s
            + looks.exact_losses * self.exact_loss_s
            + looks.walk_steps * walk_step_s
        )


def trained_a_little(trial: Trial, parts: Parts, microbatch: int | str | None) -> Running:
    """Return a training of one member that has gone on for about ENOUGH_S, at most an epoch: at their start networks are curved
    otherwise than later, and products with the Hessian are up to twice as many.
    """
    started = time.perf_counter()
    training = begun(trial, [0], parts, microbatch=microbatch)
    end = training.next_stop()
    while (
        training.step < end and not training.done and (training.step == 0 or time.perf_counter() - started < ENOUGH_S)
    ):
        training.advance(1e-9)
    if next(iter(training.trained())).diverged_at_step is None:
        return training
    # what is not finite is not measured, which takes no time
    return begun(trial, [0], parts, microbatch=microbatch)


def looking_costs(space: Space, training: Running) -> LookingCosts:
    """Time looks at a short training's only member, on few examples where all take long. Cost: some seconds, however slow it is."""
    member = next(iter(training.trained()))
    module, loss, parts = training.evaluation_module, training.trial.example_loss, training.parts
    params, buffers = member.params, member.buffers
    num_train, num_validation, num_test = (len(part) for part in parts[:3])
    largest = max(parts[:3], key=len)

    def recalibrate(number: int) -> object:
        return recalibrated(module, params, buffers, parts.train.first(number))

    def evaluate(number: int) -> object:
        return quality(module, params, buffers, loss, largest.first(number), training.trial.error)

    evaluate(2)  # what is made only once is not counted
    passed = _timed(training, evaluate, FIRST, len(largest))
    statistics_s = _timed(training, recalibrate, FIRST, num_train).at(num_train)
    at_first = int(ENOUGH_S / EVALUATIONS / max(passed.seconds / passed.number, 1e-12))

    def measured(metrics: Sequence[Metric], sizes: Sequence[int]) -> float:
        """Return what it takes to measure metrics over parts of these sizes, statistics recomputed for each."""
        found = statistics_s * len(sizes) if metrics else 0.0
        for metric in metrics:
            passes = _Passes(LONGEST_S)

            def look(number: int, metric: Metric = metric, passes: _Passes = passes) -> object:
                few = parts.train.first(number)
                with surface_over(module, (params, few_statistics), loss, few) as surface, passes.counted(module):
                    return measure_all([metric], surface, METRIC_SEED)

            most = min(metric.max_samples or num_train, num_train)
            timed = _timed(training, look, min(METRICS_TIMED_ON, max(4, at_first)), most, passes)
            if passes.stopped:
                each_s = GRADIENT * EVALUATIONS * passed.each_s
                timed = timed._replace(
                    seconds=timed.seconds * max(1.0, EVALUATIONS / max(1, passes.number)), each_s=each_s
                )
            found += sum(timed.at(min(metric.max_samples or size, size)) for size in sizes)
        return found

    few_statistics = recalibrated(module, params, buffers, parts.train.first(FIRST))
    watch, walk = space.watch, space.walk
    looked = [len(getattr(parts, split)) for split in watch.splits] if watch else []
    losses = _walk_losses(training, walk) if walk is not None and walk.points else (0.0, 0.0)
    return LookingCosts(
        evaluation_s=statistics_s + sum(passed.at(n) for n in (num_train, num_validation, num_test, num_test)),
        epoch_end_s=statistics_s + passed.at(num_train) + passed.at(num_validation),
        test_s=statistics_s + passed.at(num_test),
        metrics_s=measured(space.metrics, [num_train]),
        crossing_s=measured([LambdaMax(tolerance=1e-2)], [num_train]) if space.crossings else 0.0,
        watch_s=measured(as_metrics(watch.metrics), looked) if watch and watch.metrics else 0.0,
        walk_loss_s=losses[0],
        exact_loss_s=losses[1],
    )


class StepCosts(NamedTuple):
    """What an update of a member that trains by itself takes, in seconds, and what walking it takes beside losses."""

    alone_s: float
    walk_s: float


def step_costs(walk: Walk | None, training: Running) -> StepCosts:
    """Time some updates of a training that has not begun, the second where there is one: the first makes things once."""
    number = training.plan.boundaries[training.step] // training.plan.num_train + 1
    walker = Walker(dataclasses.replace(walk or Walk(), epochs=(number,), points=0), training)
    found = StepCosts(0.0, 0.0)
    for _ in range(2):
        if training.done:
            break
        started, looked = time.perf_counter(), walker.looking_s
        walker.advance(1e-9)
        own = walker.looking_s - looked
        found = StepCosts(max(0.0, time.perf_counter() - started - own), own if walk is not None else 0.0)
    return found


GRADIENT = 3.0
"""What a gradient takes, in passes without one."""


class _TooLongError(Exception):
    """A metric was stopped."""


class _Passes:
    """The passes through a network that a metric makes, until they took too long."""

    def __init__(self, longest_s: float) -> None:
        self.longest_s, self.number, self.stopped = longest_s, 0, False

    @contextlib.contextmanager
    def counted(self, module: nn.Module) -> Iterator[None]:
        """Count from the first on; a pass that begins too late raises, which what is measured says as its reason."""
        started, self.number = time.perf_counter(), 0

        def begins(*_: object) -> None:
            self.stopped = self.number < EVALUATIONS and time.perf_counter() - started > self.longest_s
            if self.stopped:
                raise _TooLongError
            self.number += 1

        hook = module.register_forward_pre_hook(begins)
        try:
            yield
        finally:
            hook.remove()


def _walk_losses(training: Running, walk: Walk) -> tuple[float, float]:
    """Return what a loss of the walk takes, and one in float64 where the walk measures rounding."""
    params, buffers = next(iter(training.iterates().values()))
    names = [name for name, _ in training.evaluation_module.named_parameters()]
    values = params | buffers
    at = Iterate({name: values.pop(name) for name in names}, values, list(params))
    num_train = len(training.parts.train)
    most = min(walk.max_samples or num_train, num_train)

    def loss(dtype: torch.dtype | None) -> Callable[[int], object]:
        return lambda number: WalkLosses(dataclasses.replace(walk, max_samples=number), training).at(at, at, 0.5, dtype)

    exact = walk.barrier_above is None and training.dtype != torch.float64
    first = min(FIRST, most)
    return (
        _timed(training, loss(None), first, most).at(most),
        _timed(training, loss(torch.float64), first, most).at(most) if exact else 0.0,
    )


def _timed(
    training: Running, look: Callable[[int], object], first: int, most: int, passes: _Passes | None = None
) -> Timed:
    """Time a look on more and more examples, at most so many, until it takes ENOUGH_S and that hangs on their number.

    What is not for an example (the calls of the network) is told from what is by two numbers of examples; a look that is slow from
    the start is timed on one, and all of it is taken to be for examples.
    """
    number = min(first, most)
    seconds = _duration_s(training, look, number)
    each_s, growth = seconds / number, 1.0
    while number < most and (seconds < ENOUGH_S or (growth < GROWTH / 2 and seconds < GROWTH * ENOUGH_S)):
        if passes is not None and passes.stopped:
            break
        more = min(most, GROWTH * number)
        longer = _duration_s(training, look, more)
        each_s, growth = max(0.0, longer - seconds) / (more - number), longer / seconds
        number, seconds = more, longer
    return Timed(number, seconds, each_s)


def _duration_s(training: Running, look: Callable[[int], object], number: int) -> float:
    started = time.perf_counter()
    look(number)
    if training.device.type == "cuda":
        torch.cuda.synchronize(training.device)
    return time.perf_counter() - started

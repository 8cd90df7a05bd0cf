"""What looking at members costs stands in the estimate, and finding that out does not take long for a slow network."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.trainings import Blobs, parts_of, training, trial
from tune_lb.budgets import Epochs
from tune_lb.metrics.keskar import Keskar
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.trace import Trace
from tune_lb.observation import observer
from tune_lb.observation.outcome import measured_values, outcomes
from tune_lb.observation.walk_losses import WalkLosses
from tune_lb.observation.walker import Walker
from tune_lb.observation.watcher import Watcher
from tune_lb.remedies import EMA, GradientNoise
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.observation import Walk, Watch
from tune_lb.space.space import Space
from tune_lb.training.phased_training import begun
from tune_lb.training.training import Training
from tune_lb.tuning import looking_costs as module
from tune_lb.tuning.cost_estimate import ArmEstimate, estimate, left_s
from tune_lb.tuning.looking_costs import looking_costs, step_costs, trained_a_little
from tune_lb.tuning.looks import Looks, looks_of


@dataclass(frozen=True)
class BatchNormNetwork:
    def __call__(self, input_shape, num_classes):
        return nn.Sequential(nn.Linear(input_shape[0], 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, num_classes))


class Counting(nn.Linear):
    """Counts the examples that it has seen."""

    seen: ClassVar[int] = 0

    def forward(self, x):
        Counting.seen += x.shape[-2]
        return super().forward(x)


def network(input_shape, num_classes):
    return Counting(input_shape[0], num_classes)


DATA = Blobs(num_train=2000)


def space(**settings):
    arms = (Arm("small", batch_size=8, lr=0.1), Arm("large", batch_size=24, lr=0.1))
    given = {"question": "?", "data": DATA, "model": network, "budget": Epochs(3.0), "metrics": (LambdaMax(), Trace())}
    return Space(arms=arms, baseline="small", reference="large", **(given | settings))


def advanced(**settings):
    running = training(trial(model=network, data=DATA, **settings), (0,))
    running.advance(1e-9)
    return running


def test_a_slow_network_is_timed_on_few_examples(monkeypatch):
    running = advanced()
    Counting.seen = 0
    looking_costs(space(), running)
    whole = Counting.seen
    monkeypatch.setattr(module, "ENOUGH_S", 1e-9)
    Counting.seen = 0
    found = looking_costs(space(), running)
    assert Counting.seen < 3000 < whole
    assert min(found.evaluation_s, found.epoch_end_s, found.crossing_s) > 0


EVERYTHING = space(
    data=Blobs(num_train=400),
    budget=Epochs(4.0),
    model=BatchNormNetwork(),
    metrics=(LambdaMax(), Keskar(spaces=("full",))),
    watch=Watch(
        metrics=("lambda_max", "parameter_norm"),
        every_epochs=2,
        splits=("train", "test"),
        test_error=True,
        steps=(0, 3),
    ),
    walk=Walk(epochs=(1, 2, 4, 99), points=3, max_samples=100),
    crossings=(1.5, 1.2),
)
NOISY = {"model": BatchNormNetwork(), "budget": Epochs(4.0), "batch_size": 100, "data": EVERYTHING.data}


def test_looks_are_counted_as_often_as_they_come():
    of = trial(GradientNoise(alpha=0.01), **NOISY)
    found = looks_of(EVERYTHING, of, of.plan(400))
    # 4 updates an epoch; looks at 0 and 3 updates and at 4 ends; the watch at 2 of these ends; epochs 1 and 2 are one stretch
    watched = {"losses": 6, "test_losses": 6, "crossings": 2, "watches": 4}
    assert found == Looks(**watched, walk_losses=12 * 4 + 2, exact_losses=3 * 5, walk_steps=12)
    assert looks_of(space(crossings=None), of, of.plan(400)) == Looks(losses=4)
    assert looks_of(space(crossings=(0.5, 0.4, 0.3, 0.2, 0.1)), of, of.plan(400)).crossings == 4
    quiet = replace(EVERYTHING, walk=replace(EVERYTHING.walk, points=0))
    assert looks_of(quiet, of, of.plan(400)) == Looks(**watched, walk_steps=12)
    given = replace(EVERYTHING, walk=replace(EVERYTHING.walk, barrier_above=0.1))
    assert looks_of(given, of, of.plan(400)).exact_losses == 0
    averaged = trial(EMA(half_life=1.0, others=(0.5, 2.0)), **NOISY)
    assert looks_of(space(), averaged, averaged.plan(400)).losses == 4 * (
        1 + len(EMA(half_life=1.0, others=(0.5, 2.0)).alternative_names())
    )


class Clock(TorchDispatchMode):
    """Tells the time in what operations do: a fixed part for each, and what it writes."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.now += 100 + sum(leaf.numel() for leaf in tree_leaves(found) if isinstance(leaf, Tensor))
        return found


@pytest.mark.parametrize("enough", [1e12, 2e5], ids=["on all examples", "on few examples"])
def test_what_is_announced_for_each_kind_of_look_is_what_it_takes(monkeypatch, enough):
    """In operations, not in seconds: the 1.5 that is promised, kind by kind, on a member that trains to its end."""
    of = trial(GradientNoise(alpha=0.01), **NOISY)
    parts = parts_of(of)
    monkeypatch.setattr(module, "ENOUGH_S", enough)
    monkeypatch.setattr(module, "LONGEST_S", 1e12)
    spent = dict.fromkeys(Looks._fields, 0.0)
    with Clock() as clock:
        monkeypatch.setattr(time, "perf_counter", lambda: clock.now)

        def counted(kind, function):
            def wrapped(*args, **kwargs):
                started = clock.now
                found = function(*args, **kwargs)
                exact = kind == "walk_losses" and torch.float64 in args
                spent["exact_losses" if exact else kind] += clock.now - started
                return found

            return wrapped

        costs = looking_costs(EVERYTHING, trained_a_little(of, parts, None))
        step = step_costs(EVERYTHING.walk, begun(of, [0], parts))
        monkeypatch.setattr(Training, "evaluate", counted("losses", Training.evaluate))
        monkeypatch.setattr(Watcher, "test_quality", counted("test_losses", Watcher.test_quality))
        monkeypatch.setattr(Watcher, "look", counted("watches", Watcher.look))
        monkeypatch.setattr(observer, "_lambda_max", counted("crossings", observer._lambda_max))
        monkeypatch.setattr(WalkLosses, "at", counted("walk_losses", WalkLosses.at))
        monkeypatch.setattr(Walker, "_gradients", counted("walk_steps", Walker._gradients))
        long = begun(of, [0], parts)
        looking = observer.Observer(
            long, watched=True, crossings=(1.5, 1.2), walk=EVERYTHING.walk, watch=EVERYTHING.watch
        )
        before = clock.now
        while not long.done:
            looking.advance()
        whole = clock.now - before
        before = clock.now
        outcomes(long, metrics=(), wall_s=0.0)
        evaluation = clock.now - before
        before = clock.now
        measured_values(long, EVERYTHING.metrics)
        metrics = clock.now - before
    looks = looks_of(EVERYTHING, of, long.plan)
    for kind, count in looks._asdict().items():
        announced = costs.while_training_s(Looks(0)._replace(**{kind: count}), step.walk_s)
        assert spent[kind] / 1.5 < announced < 1.5 * spent[kind], (kind, announced, spent[kind])
    announced = costs.while_training_s(looks, step.walk_s) + long.plan.num_updates * step.alone_s
    assert whole / 1.5 < announced < 1.5 * whole
    assert evaluation / 1.5 < costs.evaluation_s < 1.5 * evaluation
    assert metrics / 1.5 < costs.metrics_s < 1.5 * metrics


def estimated(of, own=None):
    designs = checked_designs(of)
    parts = parts_of(trial(data=own or DATA))
    seconds = {design.name: 0.01 for design in designs}
    every = {design.name: parts for design in designs}
    return estimate(of, designs, every, seconds, concurrency=1, start_s=0.0, already_done=0)


def test_evaluation_and_looks_are_in_the_estimate_with_the_sizes_of_the_parts():
    one = estimated(space())
    for arm in one.arms:
        assert arm.num_examples[0] == 2000
        assert arm.evaluation_s > 0
        parts = arm.members * (arm.updates_per_member * 0.01 + arm.evaluation_s) + arm.looking_s
        assert arm.core_s == pytest.approx(parts)
    nothing = estimated(space(crossings=None, metrics=()))
    assert all(arm.looking_s < other.looking_s for arm, other in zip(nothing.arms, one.arms, strict=True))


def test_the_time_left_of_an_arm_falls_when_its_looks_are_over():
    of = space(measured_blocks=2, watched_blocks=3, confirm_blocks=6, block_seeds=2)
    row = ArmEstimate(
        "a", 20, 1, 1.0, 20 * 3.0 + 2 * 100.0 + 6 * 10.0, 1.0, 2 * 100.0 + 6 * 10.0, (1, 1, 1), 100.0, 10.0
    )
    assert [left_s(of, row, left, confirmed) for left, confirmed in ((20, 0), (12, 0), (10, 2), (8, 4), (6, 6), (0, 12))] == [
        row.core_s, 12 * 3 + 260, 10 * 3 + 100 + 40, 8 * 3 + 20, 6 * 3, 0,
    ]  # fmt: skip
    assert left_s(replace(of, metrics_on="all"), row, 8, 4) == 8 * 3 + 8 * 100 + 20

"""What takes minutes is timed on less: updates of large batches through large networks, and metrics of these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from torch import nn

from tests.space.test_space import space
from tests.trainings import Blobs, parts_of, trial
from tune_lb.budgets import Epochs
from tune_lb.remedies import SAM
from tune_lb.space.checks import checked_designs
from tune_lb.tuning import execution_choice, light_trials, looking_costs
from tune_lb.tuning.cost_estimate import typical_trials
from tune_lb.tuning.execution_choice import choose_execution
from tune_lb.tuning.light_trials import Light, light
from tune_lb.tuning.network_findings import network_findings

DATA = Blobs(num_train=800)


class Clock:
    """Tells what passes take, a millisecond an example, whatever the machine does."""

    now: ClassVar[float] = 0.0

    @classmethod
    def perf_counter(cls):
        cls.now += 1e-6
        return cls.now


class Slow(nn.Linear):
    def forward(self, x):
        Clock.now += 0.001 * x.shape[-2]
        return super().forward(x)


def slow(input_shape, num_classes):
    return Slow(input_shape[0], num_classes)


def of_large_batches(input_shape, num_classes):
    class Picky(nn.Linear):
        def forward(self, x):
            if x.shape[-2] < 100:
                raise ValueError("fewer than a hundred")
            return super().forward(x)

    return Picky(input_shape[0], num_classes)


def large(*remedies, **settings):
    return trial(*remedies, data=DATA, budget=Epochs(10.0), **({"batch_size": 400} | settings))


@pytest.mark.parametrize(
    ("longest", "aimed", "remedies", "size", "times"),
    [
        (60.0, 1.0, (), 400, 1.0),
        (0.0, 0.0, (), 32, 12.5),
        (0.0, 0.0, (SAM(rho=0.1),), 32, 25.0),
        (0.0, 1e6, (), 400, 1.0),
    ],
    ids=["quick enough", "slow", "two gradients", "no smaller one"],
)
def test_a_long_update_is_timed_on_fewer_examples(monkeypatch, longest, aimed, remedies, size, times):
    monkeypatch.setattr(light_trials, "TIMED_S", longest)
    monkeypatch.setattr(light_trials, "AIMED_S", aimed)
    meant = large(*remedies)
    found = light(meant, parts_of(meant))
    assert (found.trial.batch_size, found.times) == (size, times)
    assert found.is_itself == (times == 1.0)
    assert found.trial.remedies == (() if size == 32 else remedies)


def test_what_fails_with_fewer_examples_stands_for_itself(monkeypatch):
    monkeypatch.setattr(light_trials, "TIMED_S", 0.0)
    meant = large(model=of_large_batches)
    assert light(meant, parts_of(meant)) == Light(meant, 1.0)


def test_seconds_of_a_stand_in_are_scaled_for_every_arm_of_its_batch(monkeypatch):
    timed = []

    def seconds(of, parts, way, members, microbatch):
        timed.append((of.batch_size, way, members))
        return 0.5

    def lighter(meant, parts, microbatch):
        return Light(replace(meant, remedies=(), batch_size=8), 3.0) if meant.batch_size > 20 else Light(meant, 1.0)

    monkeypatch.setattr(execution_choice, "seconds_per_update", seconds)
    monkeypatch.setattr(execution_choice, "seconds_in_stacks", lambda *_: {})
    monkeypatch.setattr(execution_choice, "light", lighter)
    of = space()
    designs = checked_designs(of)
    trials = typical_trials(of, designs)
    parts = dict.fromkeys(trials, parts_of(next(iter(trials.values()))))
    found = choose_execution(
        of, designs, trials, parts, findings=network_findings(trials, parts), members=4, processes=1,
        updates=dict.fromkeys(trials, 1),
    )  # fmt: skip
    for arm, own in trials.items():
        expected = 0.5 if own.batch_size <= 20 else 0.5 * 3.0 * own.evaluations_per_update
        assert found.seconds[arm] == expected
    assert {(way, members) for size, way, members in timed if size == 8} == {("alone", 1)}
    assert any(own.batch_size > 20 and own.evaluations_per_update == 2 for own in trials.values())


@dataclass(frozen=True)
class ManyPasses:
    """Takes a number of passes."""

    number: int
    name: str = "many_passes"
    max_samples: int | None = None

    def columns(self):
        return {"many_passes": "passes"}

    def measure(self, surface, seed):
        for _ in range(self.number):
            surface.value(surface.point)
        return {"many_passes": self.number}


@pytest.mark.parametrize(("number", "low", "high"), [(5, 0.19, 0.4), (1000, 6.0, 25.0)])
def test_a_metric_that_takes_long_is_stopped_and_taken_to_make_a_hundred_passes(monkeypatch, number, low, high):
    monkeypatch.setattr(looking_costs, "LONGEST_S", 0.3)
    monkeypatch.setattr(looking_costs, "time", Clock)
    meant = trial(model=slow, data=Blobs(num_train=40), budget=Epochs(2.0))
    running = looking_costs.trained_a_little(meant, parts_of(meant), None)
    started = Clock.now
    found = looking_costs.looking_costs(replace(space(), metrics=(ManyPasses(number),), crossings=None), running)
    assert low < found.metrics_s < high
    assert Clock.now - started < 3.0, "a thousand passes take 40 s"

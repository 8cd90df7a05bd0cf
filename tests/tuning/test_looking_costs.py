"""What looking at members costs stands in the estimate, and finding that out does not take long for a slow network."""

from __future__ import annotations

from typing import ClassVar

import pytest
from torch import nn

from tests.trainings import Blobs, parts_of, training, trial
from tune_lb.budgets import Epochs
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.trace import Trace
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.observation import Walk, Watch
from tune_lb.space.space import Space
from tune_lb.tuning import looking_costs as module
from tune_lb.tuning.cost_estimate import estimate
from tune_lb.tuning.looking_costs import LookingCosts, looking_costs


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


def begun(**settings):
    running = training(trial(model=network, data=DATA, **settings), (0,))
    running.advance(1e-9)
    return running


def test_a_slow_network_is_timed_on_few_examples(monkeypatch):
    running = begun()
    Counting.seen = 0
    looking_costs(space(), running)
    whole = Counting.seen
    monkeypatch.setattr(module, "ENOUGH_S", 1e-9)
    Counting.seen = 0
    found = looking_costs(space(), running)
    assert Counting.seen < 3000 < whole
    assert min(found.evaluation_s, found.epoch_end_s, found.crossing_s) > 0


def test_looks_are_counted_as_often_as_they_come():
    costs = LookingCosts(evaluation_s=9.0, epoch_end_s=2.0, metrics_s=5.0, crossing_s=7.0, watch_s=3.0)
    plan = begun(budget=Epochs(4.0)).plan
    per_epoch = plan.num_updates / plan.num_epochs
    assert costs.while_training_s(space(crossings=None), plan) == 4 * 2
    assert costs.while_training_s(space(), plan) == 4 * 2 + 4 * 7
    assert costs.while_training_s(space(crossings=(0.1,), watch=Watch(every_epochs=2)), plan) == 4 * 2 + 7 + 2 * 3
    walked = costs.while_training_s(space(crossings=None, walk=Walk(epochs=(1, 3, 99), points=4)), plan)
    assert walked == pytest.approx(8 + 2 * per_epoch * 5 * 2)


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

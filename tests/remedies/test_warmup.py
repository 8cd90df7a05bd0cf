"""The warmup ramp in closed form."""

from __future__ import annotations

import math

import pytest

from tests.trainings import trial
from tune_lb.budgets import Epochs
from tune_lb.remedies.warmup import Warmup
from tune_lb.schedules import Constant, Cosine

N = 240


def rates(epochs, batch_size, schedule, total=10.0):
    of = trial(Warmup(epochs=epochs), batch_size=batch_size, schedule=schedule, budget=Epochs(total), lr=2.0)
    plan = of.plan(N)
    rate = of.rate(plan)
    return [rate(plan.position(step)) for step in range(plan.num_updates)]


@pytest.mark.parametrize(
    ("epochs", "batch_size", "W"), [(3.0, 24, 30), (3.0, 120, 6), (1.5, 240, 1.5), (0.25, 80, 0.75)]
)
def test_the_ramp_is_linear_in_steps_and_its_length_in_epochs(epochs, batch_size, W):
    found = rates(epochs, batch_size, Constant())
    assert found == pytest.approx([2.0 * min(1.0, (s + 1) / W) for s in range(len(found))], rel=1e-14)
    last = math.ceil(W) - 1
    assert found[last] == found[-1] == 2.0
    assert last == 0 or found[last - 1] < 2.0


def test_the_ramp_at_its_ends():
    found = rates(3.0, 24, Constant())
    assert (found[0], found[29], found[30]) == pytest.approx((2.0 / 30, 2.0, 2.0), rel=1e-14)
    assert found[28] == pytest.approx(2.0 * 29 / 30, rel=1e-14)


def test_less_than_a_step_is_no_warmup():
    assert rates(0.09, 24, Constant()) == rates(0.05, 24, Constant()) == [2.0] * 100


def test_it_multiplies_the_schedule_which_is_entered_on_the_way():
    found = rates(2.0, 24, Cosine())
    expected = [(1 + math.cos(math.pi * s / 100)) * min(1.0, (s + 1) / 20) for s in range(100)]
    assert found == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(("epochs", "allowed"), [(9.9, True), (10.0, False), (30.0, False)])
def test_a_warmup_as_long_as_the_training_is_refused(epochs, allowed):
    of = trial(Warmup(epochs=epochs), budget=Epochs(10.0))
    found = of.remedies[0].length_problems(of, N)
    assert len(found) == (not allowed)
    assert all(f"warmup.epochs = {epochs:g}" in line and "10 epochs" in line for line in found)

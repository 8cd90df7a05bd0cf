"""Schedules: torch.optim.lr_scheduler's where it has them, closed forms where not, and what they may not be given."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.trainings import history, training, trial
from tune_lb.budgets import Epochs, Updates
from tune_lb.remedies.warmup import Warmup
from tune_lb.schedules import Constant, Cosine, Cyclical, Linear, Position, ScheduleShape, Step, Trapezoid
from tune_lb.settings.domain import over

EVERY = [
    Constant(),
    Cosine(final=0.1),
    Linear(final=0.2),
    Step(),
    Step((1.0,), every=0.5, drop=0.5, milestone_unit="epochs"),
    Trapezoid(),
    Cyclical(period_epochs=0.7, shrink=0.5),
]


def positions(num_train, batch_size, total):
    """Return the position of every step of a training with a constant batch."""
    starts = range(0, total - batch_size + 1, batch_size)
    return [Position(s, batch_size, seen, seen + batch_size, total, num_train) for s, seen in enumerate(starts)]


def factors(shape, *, num_train=60, batch_size=6, epochs=12):
    """Return the factor at every step."""
    return [shape.factor(position) for position in positions(num_train, batch_size, epochs * num_train)]


def rates_of(make, num_steps, per_epoch=1, peak=1.0):
    """Return the rate at every step of a torch scheduler that is stepped every so many updates."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler, rates = make(optimizer), []
        for step in range(num_steps):
            rates.append(optimizer.param_groups[0]["lr"])
            if (step + 1) % per_epoch == 0:
                scheduler.step()
    return rates


lr = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("shape", "make", "per_epoch"),
    [
        (Constant(), lambda o: lr.ConstantLR(o, factor=1.0), 1),
        (Cosine(), lambda o: lr.CosineAnnealingLR(o, T_max=120), 1),
        (Cosine(final=0.25), lambda o: lr.CosineAnnealingLR(o, T_max=120, eta_min=0.25), 1),
        (Linear(), lambda o: lr.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=120), 1),
        (Linear(final=0.1), lambda o: lr.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=120), 1),
        (Step((0.5, 0.75)), lambda o: lr.MultiStepLR(o, [60, 90], gamma=0.1), 1),
        (Step((3, 5), drop=0.3, milestone_unit="epochs"), lambda o: lr.MultiStepLR(o, [3, 5], gamma=0.3), 10),
        (Step((), every=2, drop=0.9, milestone_unit="epochs"), lambda o: lr.StepLR(o, 2, gamma=0.9), 10),
        (Step((), every=0.1), lambda o: lr.StepLR(o, 12), 1),
        (Cyclical(4.0), lambda o: lr.CyclicLR(o, 0.25, 1.0, step_size_up=20, cycle_momentum=False), 1),
        (
            Cyclical(2.0, lowest=0.1, shrink=0.5),
            lambda o: lr.CyclicLR(o, 0.1, 1.0, step_size_up=10, mode="triangular2", cycle_momentum=False),
            1,
        ),
        (
            Trapezoid(rise=0.0, fall=0.25),
            lambda o: lr.SequentialLR(
                o, [lr.ConstantLR(o, factor=1.0), lr.LinearLR(o, 1.0, 0.0, total_iters=30)], milestones=[90]
            ),
            1,
        ),
    ],
)
def test_as_torch_has_it(shape, make, per_epoch):
    assert factors(shape) == pytest.approx(rates_of(make, 120, per_epoch), abs=1e-12)


def test_milestones_of_paper_003():
    found = factors(Step((25, 40), every=10, drop=0.9, milestone_unit="epochs"), epochs=75, batch_size=60)
    expected = [0] * 25 + [1] * 15 + [2] * 10 + [3] * 10 + [4] * 10 + [5] * 5
    assert found == pytest.approx([0.9**k for k in expected])


def test_a_milestone_within_a_step_counts_for_the_next():
    # 60 examples, batches of 24: steps begin at 0, 24, 48, 72, ...; epoch 1 ends at 60
    shape = Step((1,), milestone_unit="epochs")
    assert [shape.factor(position) for position in positions(60, 24, 120)] == [1.0, 1.0, 1.0, 0.1, 0.1]


def test_shares_that_are_no_binary_fractions_fall_on_their_step():
    for num_steps in (10, 30, 70, 110):
        found = factors(Step((0.1, 0.3, 0.7)), num_train=10, batch_size=10, epochs=num_steps)
        drops = [step for step in range(1, num_steps) if found[step] < found[step - 1]]
        assert drops == [num_steps // 10, 3 * num_steps // 10, 7 * num_steps // 10]


def test_a_trapezoid_by_hand():
    found = factors(Trapezoid(rise=0.2, fall=0.4, final=0.1), epochs=1)
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.775, 0.55, 0.325])
    # its ramp is that of a warmup of as many epochs
    ramps = [trial(Warmup(epochs=3.0), schedule=Trapezoid(rise=0.0)), trial(schedule=Trapezoid(rise=0.25))]
    warmed, risen = (of.rate(replace(of, budget=Epochs(12)).plan(24)) for of in ramps)
    for position in positions(24, 8, 12 * 24):
        assert warmed(position) == pytest.approx(risen(position))


@pytest.mark.parametrize("lowest", [0.1, 0.25])
def test_a_trapezoid_that_starts_at_the_lowest_rate_of_a_cycle(lowest):
    shape = Trapezoid(rise=0.2, fall=0.4, start=lowest, final=lowest)
    xs = (np.arange(10) + np.where(np.arange(10) < 2, 1, 0)) / 10
    expected = np.interp(xs, [0, 0.2, 0.6, 1], [lowest, 1, 1, lowest])
    assert factors(shape, epochs=1) == pytest.approx(expected.tolist())
    cycle = Cyclical(period_epochs=4.0, lowest=lowest)
    whole = Trapezoid(rise=0.5, fall=0.5, start=lowest, final=lowest)
    ramps = [factors(each, num_train=100, batch_size=1, epochs=4) for each in (cycle, whole)]
    assert ramps[0][1:201] == pytest.approx(ramps[1][:200])
    assert ramps[0][200:] == pytest.approx(ramps[1][200:])


def test_rise_and_fall_without_plateau_are_one_cycle():
    cycle, trapezoid = Cyclical(period_epochs=4.0, lowest=0.0), Trapezoid(rise=0.5, fall=0.5)
    ramps = [factors(shape, num_train=100, batch_size=1, epochs=4) for shape in (cycle, trapezoid)]
    # the cycle counts before the step, the ramp of the trapezoid after it
    assert ramps[0][1:201] == pytest.approx(ramps[1][:200])
    assert ramps[0][200:] == pytest.approx(ramps[1][200:])


@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_means_the_same_at_every_batch_size(shape):
    fine, coarse = factors(shape, batch_size=6, epochs=4), factors(shape, batch_size=30, epochs=4)
    if not isinstance(shape, Trapezoid):
        assert coarse == pytest.approx(fine[::5])
    assert all(0 <= factor <= 1 for factor in fine + coarse)
    assert isinstance(shape, ScheduleShape)


def test_cyclical_begins_each_cycle_on_its_step():
    # 1/3 of an epoch is no binary fraction: every cycle is 2 steps, low and high in turn
    found = factors(Cyclical(period_epochs=1 / 3, lowest=0.2, shrink=0.5), num_train=60, batch_size=10, epochs=30)
    assert found[::2] == pytest.approx([0.2] * 90)
    assert found[1::2] == pytest.approx([0.2 + 0.8 * 0.5**c for c in range(90)])


@pytest.mark.parametrize("shape", EVERY, ids=str)
@pytest.mark.parametrize("budget", [Epochs(2.0), Updates(7)])
def test_training_uses_it_with_warmup_around_it(shape, budget):
    of = trial(Warmup(epochs=1.0), schedule=shape, budget=budget, lr=0.05)
    plan = of.plan(24)
    seen = [row.value for row in history(training(of), 1e-9) if row.name == "lr"]
    ramp = [min(1.0, (step + 1) * 8 / 24) for step in range(plan.num_updates)]
    assert seen == pytest.approx([0.05 * r * shape.factor(plan.position(s)) for s, r in enumerate(ramp)])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (Step((0.75, 0.5)), "milestones = (0.75, 0.5): must be numbers above 0, ascending"),
        (Step((0.5, 0.5)), "ascending"),
        (Step((0.0, 0.5)), "above 0"),
        (Step(("a",)), "must be numbers"),
        (Step((25, 40)), "give milestone_unit='epochs'"),
        (Step(over([(0.5,), (2.0,)])), "must be below 1"),
        (Step(0.5), "milestones = 0.5: must be of type tuple"),
        (Step(drop=0.0), "drop = 0.0: must be above 0"),
        (Step(drop=1.5), "drop = 1.5: must be at most 1"),
        (Step(milestone_unit="steps"), "must be one of 'epochs', 'share'"),
        (Trapezoid(rise=0.6, fall=0.6), "rise + fall may be 1.2"),
        (Trapezoid(rise=over(0.1, 0.8), fall=0.5), "rise + fall may be 1.3"),
        (Trapezoid(rise=over([0.1, 0.8]), fall=over(0.1, 0.4)), "rise + fall may be 1.2"),
        (Trapezoid(fall=-0.1), "fall = -0.1: must be at least 0"),
        (Cyclical(period_epochs=0.0), "period_epochs = 0.0: must be above 0"),
        (Cyclical(lowest=1.1), "lowest = 1.1: must be at most 1"),
        (Linear(final=-0.1), "final = -0.1"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(shape, words):
    lines = shape.problems("schedule")
    assert len(lines) == 1
    assert words in lines[0]
    assert lines[0].startswith("schedule")


@pytest.mark.parametrize("shape", EVERY, ids=str)
def test_suggested_domains_are_valid(shape):
    searched = type(shape)(**type(shape).suggested())
    assert searched.problems() == []
    assert searched.dimensions() == type(shape).suggested()
    for name, domain in searched.dimensions().items():
        for end in domain.to_check():
            factor = shape.resolved({name: end}).factor(Position(0, 6, 0, 6, 600, 60))
            assert 0 <= factor <= 1

"""Rungs by hand: where it is looked, how many go on, what that costs, and which trainings cannot be judged there."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.space.test_space import space
from tests.trainings import trial
from tune_lb.budgets import Epochs, UntilPlateau, Updates
from tune_lb.remedies.warm_start import WarmStart
from tune_lb.remedies.warmup import Warmup
from tune_lb.schedules import Constant, Trapezoid
from tune_lb.space.checks import space_problems
from tune_lb.space.description import space_hash
from tune_lb.space.halving import Halving, look_problems, look_steps, stops
from tune_lb.training.phase import Phase

N = 100


@pytest.mark.parametrize(
    ("halving", "number", "candidates", "looks", "going_on", "trainings"),
    [
        (Halving(), 24, 5, [Fraction(1, 2)], (12,), Fraction(18)),
        (Halving(factor=4, grace=0.25), 24, 5, [Fraction(1, 4)], (6,), Fraction(24, 4) + Fraction(6 * 3, 4)),
        # 24, 12, 6 would be 3 at the last look: as many as are decided between go on
        (Halving(factor=2, grace=0.125), 24, 5, [Fraction(1, 8), Fraction(1, 4), Fraction(1, 2)], (12, 6, 5), None),
        (Halving(factor=3, grace=0.5), 7, 1, [Fraction(1, 2)], (2,), Fraction(9, 2)),
        (Halving(factor=2, grace=0.5), 3, 5, [Fraction(1, 2)], (3,), Fraction(3)),
        (Halving(factor=1.5, grace=0.5), 9, 2, [Fraction(1, 2), Fraction(3, 4)], (6, 4), Fraction(9, 2) + Fraction(6, 4) + 1),
        (Halving(factor=10, grace=0.1), 5, 1, [Fraction(1, 10)], (1,), Fraction(5, 10) + Fraction(9, 10)),
    ],
)  # fmt: skip
def test_rungs(halving, number, candidates, looks, going_on, trainings):
    assert halving.looks == pytest.approx([float(look) for look in looks])
    assert halving.going_on(number, candidates) == going_on
    if trainings is None:
        trainings = Fraction(24, 8) + Fraction(12, 8) + Fraction(6, 4) + Fraction(5, 2)
    assert halving.trainings(number, candidates) == pytest.approx(float(trainings))


@pytest.mark.parametrize(
    ("batch_size", "budget", "grace", "expected"),
    [
        (10, Epochs(8), 0.25, [20, 40]),
        # 3 updates of 30 end an epoch at 90; 8 epochs are 26 updates, 780 examples: 195 and 390 come in epochs 2 and 4
        (30, Epochs(8), 0.25, [6, 13]),
        # 7 updates are 70 examples, less than an epoch: nowhere to look
        (10, Updates(7), 0.5, [None]),
        (10, Epochs(1), 0.5, [None]),
    ],
)
def test_looks_come_at_ends_of_epochs(batch_size, budget, grace, expected):
    assert look_steps(Halving(grace=grace), trial(batch_size=batch_size, budget=budget), N) == expected


def test_looks_count_phases():
    of = trial(batch_size=20, budget=Epochs(4), phases=(Phase(epochs=2, batch_size=10),))
    # 20 updates of 10, then 20 of 20; epochs end after each ten and each five
    assert stops(of, N) == [10, 20, 25, 30, 35, 40]
    assert look_steps(Halving(grace=0.5), of, N) == [25]


@pytest.mark.parametrize(
    ("grace", "settings", "words"),
    [
        (0.5, {}, None),
        (0.5, {"remedies": (Warmup(epochs=3.5),)}, None),
        (0.5, {"remedies": (Warmup(epochs=4.0),)}, "(epoch 4), comes before its warmup is over (epoch 4); give a larger grace"),
        (0.5, {"remedies": (WarmStart(epochs=5.0, batch_size_before=5),)}, "before its warmup is over (epoch 5)"),
        (0.5, {"schedule": Trapezoid(rise=0.6, fall=0.2)}, "before its warmup is over (epoch 4.7)"),
        (0.5, {"schedule": Constant()}, None),
        (0.3, {"phases": (Phase(epochs=6.0),)}, "before its phases are over (epoch 6)"),
        (0.5, {"phases": (Phase(epochs=6.0),), "remedies": (Warmup(epochs=2.0),)}, "warmup is over (epoch 8)"),
        (0.6, {"phases": (Phase(epochs=6.0),), "remedies": (Warmup(epochs=2.0),)}, None),
        (0.01, {"budget": Epochs(3)}, "in 3 epochs those after 0.01, 0.02, 0.04"),
        (0.5, {"budget": UntilPlateau()}, "a budget that watches the loss has no known length"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_at_a_look(grace, settings, words):
    chosen = {"batch_size": 10, "budget": Epochs(8), "remedies": ()} | settings
    of = trial(*chosen.pop("remedies"), **chosen)
    found = look_problems(Halving(grace=grace), of, N)
    assert len(found) == (words is not None)
    assert not found or words in found[0]


def test_the_grace_that_is_advised_is_enough():
    of = trial(Warmup(epochs=4.0), batch_size=10, budget=Epochs(8))
    (line,) = look_problems(Halving(grace=0.5), of, N)
    advised = float(line.rpartition("grace=")[2].rstrip(")"))
    assert look_problems(Halving(grace=advised), of, N) == []


def test_a_space_takes_it_by_name_and_says_what_is_wrong():
    assert space(stopping="halving").stopping == Halving()
    assert space().overridden([("stopping", "halving")]).stopping == Halving()
    assert space(stopping=Halving()).overridden([("stopping", "none")]).stopping is None
    assert space_hash(space(stopping=Halving())) != space_hash(space())
    found = space_problems(space(stopping=Halving(factor=1.0, grace=1.5), objectives=("validation_error",)))
    assert found[:2] == ["space.stopping.factor = 1.0: must be above 1", "space.stopping.grace = 1.5: must be below 1"]
    assert "one that was stopped has no objectives" in found[2]
    assert "must be of type Halving or None" in space_problems(space(stopping="hyperband"))[0]

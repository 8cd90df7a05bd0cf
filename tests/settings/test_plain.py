"""Numbers of NumPy and torch in settings: Python's own, so that they print, hash and compare as what they are (B8)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tests.space.test_space import space
from tests.trainings import trial
from tune_lb.budgets import Epochs
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.sam import SAM
from tune_lb.settings.domain import over
from tune_lb.settings.identity import describe
from tune_lb.settings.plain import plain
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.description import description


@dataclass(frozen=True)
class Own:
    """A model of a user's: a dataclass of no base of ours."""

    width: object
    parts: tuple = ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(2.5), 2.5),
        (torch.tensor(3), 3),
        (torch.nn.Parameter(torch.tensor(0.5)), 0.5),
        ([np.int8(1), (np.float64(2.0),)], [1, (2.0,)]),
        ({"a": np.float64(1.0)}, {"a": 1.0}),
        (Own(np.int64(3), (np.float64(1.0),)), Own(3, (1.0,))),
        (Epochs(np.float64(2.0)), Epochs(2.0)),
    ],
)
def test_numbers_become_plain_at_any_depth(given, expected):
    found = plain(given)
    assert repr(found) == repr(expected)
    assert type(found) is type(expected)


def test_of_a_partial_too():
    found = plain(functools.partial(MLP, np.int64(3), batch_norm=np.bool_(False)))
    assert repr((found.args, found.keywords)) == "((3,), {'batch_norm': False})"


def test_what_holds_none_is_the_same_object():
    for value in (
        Own(3, (1, "a", None)),
        [1],
        {"a": (1,)},
        MLP(),
        functools.partial(MLP, hidden=(3,)),
        MLP,
        np.zeros(2),
    ):
        assert plain(value) is value


def test_a_trial_of_numpy_numbers_is_that_of_plain_ones():
    of, plainly = (
        trial(SAM(rho=number(0.5)), lr=number(0.25), batch_size=whole(8), optimizer=SGD(momentum=number(0.5)))
        for number, whole in ((np.float64, np.int64), (float, int))
    )
    assert repr(of) == repr(plainly)
    assert of.problems() == []
    assert of.trial_id("data") == plainly.trial_id("data")
    assert of.columns() == plainly.columns()


def test_a_space_of_numpy_numbers_is_that_of_plain_ones():
    spaces = [
        space(
            Arm("small", batch_size=whole(8)),
            Arm("large", SAM(rho=over([number(0.1), number(0.2)])), lr=number(0.1), eta_over_b=None),
            num_samples=whole(4),
            confirm_blocks=whole(3),
            eta_over_b=over(number(1e-3), number(1e-1), log=True),
            budget=Epochs(number(2.0)),
        )
        for number, whole in ((np.float64, np.int64), (torch.tensor, torch.tensor), (float, int))
    ]
    for of in spaces[:2]:
        assert checked_designs(of)
        assert of.problems() == []
        assert type(of.num_samples) is int
    assert description(spaces[0]) == description(spaces[2])
    assert "np." not in repr(spaces[0].arms[1].settings) + str(description(spaces[0]))


@pytest.mark.parametrize("make", [np.logspace, torch.logspace])
def test_an_array_is_a_list_of_values(make):
    domain = over(make(-3, -1, 3))
    assert [type(value) for value in domain.values] == [float] * 3
    assert domain.values == pytest.approx((1e-3, 1e-2, 1e-1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": np.array([0.1])}, "lr = [0.1]: must be a number or None"),
        ({"batch_size": np.float64(8.5)}, "batch_size = 8.5: must be a whole number"),
        ({"lr": np.float64("nan")}, "lr = nan: must be finite"),
    ],
)
def test_what_is_no_single_number_is_refused(changes, words):
    (found,) = trial(**changes).problems()
    assert words in found


def test_functions_are_shown_by_name_and_not_by_where_they_lie_in_memory():
    """A row says the same in every process."""
    assert describe(functools.partial(MLP, np.int64(3), batch_norm=False)) == "MLP(3, batch_norm=False)"
    assert describe(Own(plain, (1,))) == "Own(width=plain, parts=(1,))"
    assert describe(Own(functools.partial(plain, 2))) == "Own(width=plain(2))"
    assert describe(MLP(hidden=(3,))) == "MLP(hidden=(3,))"

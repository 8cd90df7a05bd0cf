"""Laws over every remedy in tune_lb.remedies, and proof that each law catches a remedy that breaks it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from tests.trainings import (
    ALL,
    EXAMPLES,
    LATER,
    refusals,
    remedy_classes,
    same_bits,
    trajectory,
    trial,
)
from tune_lb.settings.setting import setting
from tune_lb.testing.remedy_laws import (
    agrees_with_others_beside_it,
    changes_nothing_when_neutral,
    goes_on_from_a_checkpoint,
    is_a_value,
    keeps_start_and_order,
    leaves_random_state,
    repeats_itself,
)
from tune_lb.training.remedy import Remedy

ACTIVE = [example for examples in EXAMPLES.values() for example in examples] + LATER
LAST = [examples[-1] for examples in EXAMPLES.values()]
PAIRS = [
    # fast: every remedy with the two beside it in the list
    pytest.param(pair, marks=() if LAST.index(pair[1]) - LAST.index(pair[0]) == 1 else pytest.mark.slow)
    for pair in itertools.combinations(LAST, 2)
]


def test_every_remedy_has_examples():
    assert {kind.name for kind in remedy_classes()} == EXAMPLES.keys()
    assert {type(example) for example in ACTIVE} == set(remedy_classes())
    assert not any(example.is_neutral() for example in ACTIVE)


@pytest.mark.parametrize("kind", remedy_classes())
def test_neutral_by_default(kind):
    assert kind().is_neutral()
    assert kind().problems() == []
    assert changes_nothing_when_neutral(kind(), trial)


@pytest.mark.parametrize("remedy", ACTIVE, ids=str)
def test_active_ones_change_the_trajectory(remedy):
    plain, changed = trajectory(trial()), trajectory(trial(remedy))
    # a batch schedule makes another number of updates, slopes are more buffers: what can be compared are the last weights
    weights = slice(sum(p.numel() for p in trial().network((5,), 3).parameters()))
    assert (plain[0][-1, weights] - changed[0][-1, weights]).abs().max() > 1e-6
    assert torch.isfinite(changed[0]).all()


@pytest.mark.parametrize("remedy", ACTIVE, ids=str)
def test_is_a_value(remedy):
    assert is_a_value(remedy)


@pytest.mark.parametrize("remedies", [[], *([remedy] for remedy in ACTIVE), ALL], ids=str)
def test_one_member_is_the_same_alone_and_among_others(remedies):
    assert agrees_with_others_beside_it(*remedies)


@pytest.mark.parametrize("remedies", [[], *([remedy] for remedy in ACTIVE), ALL], ids=str)
def test_same_seed_same_bits_whatever_the_global_random_state(remedies):
    assert leaves_random_state(*remedies)
    assert repeats_itself(*remedies)


@pytest.mark.parametrize("remedies", [*([remedy] for remedy in ACTIVE), ALL], ids=str)
def test_switching_it_on_moves_neither_the_start_nor_the_data_order(remedies):
    assert keeps_start_and_order(*remedies)


def test_the_order_in_the_list_means_nothing():
    runs = [trajectory(trial(*order)) for order in (ALL, ALL[::-1], ALL[2:] + ALL[:2])]
    assert all(same_bits(runs[0], run) for run in runs[1:])


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_each_pair_composes_or_is_refused_with_a_reason(pair):
    reasons = refusals(*pair)
    if reasons:
        assert any(remedy.name in " ".join(reasons) for remedy in pair), reasons
        assert not any(refusals(remedy) for remedy in pair)
        return
    both = trajectory(trial(*pair))[0]
    assert torch.isfinite(both).all()
    for one in pair:
        assert not torch.equal(both, trajectory(trial(one))[0])


@dataclass(frozen=True)
class NotNeutral(Remedy):
    """Its default is not the neutral value."""

    name: ClassVar[str] = "not_neutral"

    factor: float = setting(2.0, "factor of the loss")

    def is_neutral(self):
        return self.factor == 1.0

    def loss(self, inner):
        return lambda outputs, targets: self.factor * inner(outputs, targets)


@dataclass(frozen=True)
class Leaky(Remedy):
    """It draws from the global generator."""

    name: ClassVar[str] = "leaky"

    size: float = setting(1.0, "of the perturbation")

    def is_neutral(self):
        return False

    def gradient(self, inner):
        def noisy(params, buffers, batch):
            loss, gradients, updated = inner(params, buffers, batch)
            return loss, {name: g + self.size * torch.randn_like(g) for name, g in gradients.items()}, updated

        return noisy


@dataclass(frozen=True)
class EarlyLeak(Leaky):
    """It draws while the plan of the training is made."""

    def peak_rate(self, rate, batch_size):
        return rate * float(torch.rand(()))


OWN = np.random.default_rng()


@dataclass(frozen=True)
class Unseeded(Leaky):
    """It draws from a generator that nobody seeds."""

    def gradient(self, inner):
        def noisy(params, buffers, batch):
            loss, gradients, updated = inner(params, buffers, batch)
            return loss, {name: g * OWN.uniform(0.5, 1.5) for name, g in gradients.items()}, updated

        return noisy


def test_a_remedy_that_draws_from_a_global_generator_is_seeded_where_members_are_alone():
    assert leaves_random_state(Leaky())
    assert repeats_itself(Leaky())


@dataclass(frozen=True)
class Mixing(Leaky):
    """It treats stacked members as one: a norm over all of them."""

    def gradient(self, inner):
        return inner

    def update(self, inner):
        def normalized(params, gradients, rate):
            length = torch.cat([g.flatten() for g in gradients.values()]).norm()
            inner(params, {name: g / length for name, g in gradients.items()}, rate)

        return normalized


@dataclass(frozen=True)
class Greedy(Leaky):
    """It takes other examples than everybody else."""

    def batch_size(self, inner, num_train):
        return lambda examples: inner(examples) - 1


def test_the_laws_catch_what_breaks_them():
    assert not changes_nothing_when_neutral(NotNeutral())
    assert not leaves_random_state(EarlyLeak())
    assert not repeats_itself(Unseeded())
    assert not agrees_with_others_beside_it(Mixing())
    assert not keeps_start_and_order(Greedy())
    with pytest.raises(RuntimeError, match="vmap"):
        agrees_with_others_beside_it(Leaky())


@pytest.mark.parametrize("remedies", [*([remedy] for remedy in ACTIVE), ALL], ids=str)
def test_a_restored_training_goes_on_as_if_nothing_had_been(remedies):
    assert goes_on_from_a_checkpoint(*remedies)

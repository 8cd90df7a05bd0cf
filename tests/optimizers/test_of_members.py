"""Optimisers of stacked members: each member is moved as by its own torch optimiser, to the last bit."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.optimizers.test_optimizers import SHAPES, problem, stacked
from tune_lb.optimizers.building import SHARE, built
from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, AdamW, RMSprop
from tune_lb.optimizers.groups import Group
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.optimizers.muon import Muon
from tune_lb.optimizers.of_members import MemberOptimizer, has_member_form, program_of

NAMES = [str(i) for i in range(len(SHAPES))]

OF_TORCH = {
    "sgd": [SGD(momentum=0.0), SGD(momentum=0.0), SGD(momentum=0.0)],
    "momentum": [SGD(momentum=m, weight_decay=w) for m, w in ((0.9, 1e-2), (0.5, 0.3), (0.99, 1e-4))],
    "nesterov": [SGD(momentum=m, nesterov=True) for m in (0.9, 0.5, 0.99)],
    "adam": [Adam(beta1=b, beta2=s, eps=e) for b, s, e in ((0.9, 0.999, 1e-8), (0.5, 0.9, 1e-3), (0.0, 0.99, 1e-8))],
    "adam with decay": [Adam(weight_decay=w) for w in (0.01, 0.1, 1.0)],
    "adamw": [AdamW(weight_decay=w, beta2=s) for w, s in ((0.01, 0.9), (0.1, 0.99), (1.0, 0.999))],
    "adagrad": [AdaGrad(initial_accumulator=a, eps=e) for a, e in ((0.1, 1e-10), (0.0, 1e-3), (2.0, 1e-10))],
    "rmsprop": [RMSprop(beta2=b, weight_decay=w) for b, w in ((0.99, 0.1), (0.9, 0.2), (0.5, 0.3))],
    "rmsprop with momentum": [RMSprop(momentum=m) for m in (0.5, 0.9, 0.1)],
    "rmsprop, centered": [RMSprop(centered=True, beta2=b) for b in (0.99, 0.9, 0.5)],
    "groups": [
        SGD(weight_decay=w, groups=(Group("0|2", rate=r), Group(vectors=True, weight_decay=0.0)))
        for w, r in ((0.1, 2.0), (0.2, 0.5), (0.3, 1.0))
    ],
}
LAYERWISE = {
    "lars": [LARS(weight_decay=w, trust_coefficient=t) for w, t in ((1e-2, 0.02), (0.1, 0.1), (1e-3, 1e-3))],
    "lars after": [LARS(momentum=m, rate_in_velocity=False, eps=e) for m, e in ((0.5, 1e-3), (0.9, 1e-2), (0.99, 0.0))],
    "lamb": [LAMB(weight_decay=w, beta1=b) for w, b in ((0.1, 0.9), (0.01, 0.5), (0.3, 0.0))],
    "lamb, bounded": [LAMB(largest_norm=n) for n in (0.5, 1.0, 2.0)],
    "muon": [Muon(weight_decay=w, momentum=m) for w, m in ((0.1, 0.95), (0.2, 0.8), (0.3, 0.5))],
    "muon, other": [
        Muon(nesterov=False, adamw_length=True, vector_rate=v, iterations=3, beta2=b)
        for v, b in ((0.1, 0.999), (0.2, 0.9), (0.3, 0.99))
    ],
}
RATES = [(0.1, 0.3, 0.02), (0.2, 0.1, 0.01), (0.05, 0.2, 0.0), (0.05, 0.2, 0.07)]
"""Of each update, one for each member."""


def alone(settings, run, member):
    """Return a member's weights after every update by its own optimiser."""
    weights = {name: tensor.clone() for name, tensor in zip(NAMES, run[0], strict=True)}
    optimizer = built(settings, weights, 1.0)
    path = []
    for rates, slopes in zip(RATES, run[1], strict=True):
        for options in optimizer.param_groups:
            options["lr"] = rates[member] * options.get(SHARE, 1.0)
        for weight, slope in zip(weights.values(), slopes, strict=True):
            weight.grad = slope.clone()
        optimizer.step()
        path.append([weight.clone() for weight in weights.values()])
    return path, optimizer, weights


def together(settings, runs, first=0):
    """Return the stacked weights after every update, and the optimiser."""
    weights = dict(zip(NAMES, stacked([run[0] for run in runs]), strict=True))
    optimizer = MemberOptimizer(settings, weights, {name: value[0] for name, value in weights.items()})
    for i, each in enumerate(settings):
        rows = {name: value[i] for name, value in weights.items()}
        optimizer.load(i, built(each, rows, 1.0), rows)
    path = []
    for step, rates in enumerate(RATES):
        gradients = dict(zip(NAMES, stacked([run[1][step] for run in runs]), strict=True))
        own = rates[first : first + len(settings)]
        optimizer.step(gradients, torch.tensor(own, dtype=torch.float64))
        path.append([weight.clone() for weight in weights.values()])
    return path, optimizer, weights


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", OF_TORCH)
def test_members_of_other_settings_and_rates_are_torchs_to_the_last_bit(kind, dtype):
    settings, runs = OF_TORCH[kind], [problem(seed, dtype) for seed in (1, 2, 3)]
    found, _, _ = together(settings, runs)
    for i, (each, run) in enumerate(zip(settings, runs, strict=True)):
        for own, beside in zip(alone(each, run, i)[0], found, strict=True):
            assert all(torch.equal(a, b[i]) for a, b in zip(own, beside, strict=True))
        single, _, _ = together([each], [run], i)
        assert all(torch.equal(a[i], b[0]) for a, b in zip(found[-1], single[-1], strict=True))


@pytest.mark.parametrize("kind", LAYERWISE)
def test_layerwise_members_are_as_alone(kind):
    settings, runs = LAYERWISE[kind], [problem(seed) for seed in (1, 2, 3)]
    found, _, _ = together(settings, runs)
    for i, (each, run) in enumerate(zip(settings, runs, strict=True)):
        for own, beside in zip(alone(each, run, i)[0], found, strict=True):
            for a, b in zip(own, beside, strict=True):
                torch.testing.assert_close(a, b[i], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("kind", [*OF_TORCH, *LAYERWISE])
def test_a_member_goes_on_from_what_the_stack_remembers(kind):
    settings = (OF_TORCH | LAYERWISE)[kind]
    runs = [problem(seed) for seed in (1, 2, 3)]
    _, optimizer, weights = together(settings, runs)
    _, own, own_weights = alone(settings[1], runs[1], 1)
    rows = {name: value[1] for name, value in weights.items()}
    other = built(settings[1], rows, 1.0)
    optimizer.store(1, other, rows)
    for name in NAMES:
        assert own.state[own_weights[name]].keys() == other.state[rows[name]].keys()
        for key, value in own.state[own_weights[name]].items():
            torch.testing.assert_close(other.state[rows[name]][key], value, rtol=1e-13, atol=1e-14)
    again = MemberOptimizer([settings[1]], {n: v[None] for n, v in rows.items()}, rows)
    again.load(0, other, rows)
    assert again.steps == optimizer.steps * any("step" in state for state in other.state.values())


def test_what_is_no_number_parts_programs():
    assert program_of(SGD(momentum=0.9)) == program_of(SGD(momentum=0.5))
    for other in (SGD(momentum=0.0), SGD(nesterov=True), SGD(weight_decay=0.1), Adam()):
        assert program_of(other) != program_of(SGD())
    assert program_of(LAMB(largest_norm=1.0)) != program_of(LAMB())
    assert program_of(Muon(iterations=3)) != program_of(Muon())
    grouped = [SGD(groups=(Group("a", rate=rate),)) for rate in (1.0, 2.0)]
    assert program_of(grouped[0]) == program_of(grouped[1]) != program_of(SGD(groups=(Group("b"),)))
    params = {"a": torch.zeros(2, 3)}
    with pytest.raises(ValueError, match="one kind"):
        MemberOptimizer([SGD(), SGD(momentum=0.0)], params, params)


def test_an_optimiser_of_the_users_has_no_member_form():
    @dataclasses.dataclass(frozen=True)
    class Own(SGD):
        pass

    assert has_member_form(SGD())
    assert not has_member_form(Own())

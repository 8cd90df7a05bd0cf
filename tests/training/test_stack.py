"""Stacks of members of several configurations, seeds and splits: each member is what it is alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.trainings import EXAMPLES, flat, training, trial
from tune_lb.budgets import Epochs, UntilPlateau
from tune_lb.data.device import OnDevice
from tune_lb.data.digits import Digits
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, AdamW, RMSprop
from tune_lb.optimizers.groups import Group
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.optimizers.muon import Muon
from tune_lb.remedies.ema import EMA
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.swa import SWA
from tune_lb.remedies.warmup import Warmup
from tune_lb.schedules import Constant, Trapezoid
from tune_lb.training import stacked_batch_norm
from tune_lb.training.stack import Stack
from tune_lb.training.stacking import stack_key
from tune_lb.training.training import Training

CLOSE = 1e-12


def numbers_of(remedy, factor):
    """Return the remedy with its floats multiplied."""
    values = {f.name: getattr(remedy, f.name) for f in dataclasses.fields(remedy)}
    return remedy.resolved({name: factor * value for name, value in values.items() if isinstance(value, float)})


def run(stack, epochs=1.0):
    """Train a stack to the end; return the rows of each training."""
    rows = [[] for _ in stack.trainings]
    while not stack.done:
        for own, found in zip(rows, stack.advance(epochs), strict=True):
            own += found
    return rows


def ended(running, epochs=1.0):
    rows = []
    while not running.done:
        rows += running.advance(epochs)
    return rows


def state(running):
    """Return weights, buffers and states of each member."""
    return [
        torch.cat([flat(tree).flatten() for tree in (m.params, m.buffers, *m.alternatives.values()) if tree])
        for m in running.trained()
    ]


def assert_same(stacked, alone):
    for one, other in zip(stacked, alone, strict=True):
        for a, b in zip(state(one), state(other), strict=True):
            torch.testing.assert_close(a, b, rtol=CLOSE, atol=CLOSE)


def mixed(*remedies, **settings):
    """Return configurations that differ in numbers alone, with the members of each: two rates, two splits."""
    first = trial(*remedies, **settings)
    others = [numbers_of(remedy, 0.9) for remedy in remedies]
    second = dataclasses.replace(first, lr=0.3 * first.lr, remedies=tuple(others))
    return [(first, (3, 0)), (second, (3,)), (dataclasses.replace(second, split_seed=1), (5, 0))]


def trainings(members, **options):
    return [training(of, seeds, **options) for of, seeds in members]


def assert_members_are_as_alone(members):
    stacked, alone = trainings(members), trainings(members)
    rows = run(Stack(stacked))
    for own, beside in zip(alone, rows, strict=True):
        expected = ended(own)
        assert [row[:4] for row in beside] == [row[:4] for row in expected]
        assert [row.value for row in beside] == pytest.approx([row.value for row in expected], rel=1e-9)
    assert_same(stacked, alone)
    assert not torch.allclose(state(stacked[0])[0], state(stacked[1])[0])


@pytest.mark.parametrize("remedy", [r for examples in EXAMPLES.values() for r in examples], ids=repr)
def test_a_member_of_a_mixed_stack_is_as_alone_with_every_remedy(remedy):
    of = mixed(remedy)
    keys = [stack_key(each) for each in trainings(of)]
    same = [each for each, key in zip(of, keys, strict=True) if key == keys[0]]
    assert None not in keys
    if len(same) == 1:  # other numbers make another plan
        same = [of[0], (dataclasses.replace(of[0][0], lr=0.05, split_seed=1), (3,))]
    assert_members_are_as_alone(same)


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(nesterov=True, weight_decay=0.1),
        SGD(weight_decay=0.1, groups=(Group(vectors=True, weight_decay=0.01, rate=2.0),)),
        Adam(),
        AdamW(),
        AdaGrad(),
        RMSprop(momentum=0.5),
        LARS(),
        LAMB(),
        Muon(),
    ],
    ids=str,
)
def test_optimizers_of_a_mixed_stack(optimizer):
    fields = {"weight_decay": 0.5 * optimizer.weight_decay}
    fields |= {"momentum": 0.7} if getattr(optimizer, "momentum", 0) else {}
    other = dataclasses.replace(optimizer, **fields)
    first = trial(Warmup(epochs=1.0), optimizer=optimizer, lr=0.02, schedule=Trapezoid())
    second = trial(Warmup(epochs=0.5), optimizer=other, lr=0.01, schedule=Constant())
    assert_members_are_as_alone([(first, (0, 1)), (second, (0,))])


@pytest.mark.parametrize(
    "remedy", [GhostBatchNorm(ghost_batch_size=4), SAM(rho=0.1), GradientNoise(alpha=0.01), Warmup(epochs=1.0)]
)
def test_batch_norm_of_all_members_in_one_call(remedy, monkeypatch):
    monkeypatch.setattr(stacked_batch_norm, "LARGE", 0)
    assert_members_are_as_alone(mixed(remedy))


def test_order_and_cut_do_not_matter():
    members = mixed(SAM(rho=0.1), GradientNoise(alpha=0.01), EMA(half_life=0.5))
    whole, turned, cut = trainings(members), trainings(members), trainings(members)
    run(Stack(whole))
    run(Stack(turned[::-1]))
    for stack in (Stack(cut[:1]), Stack(cut[1:])):
        run(stack, 0.4)
    assert_same(turned, whole)
    assert_same(cut, whole)


def test_averages_that_are_due_at_other_steps():
    first = trial(SWA(start=0.25, every=0.5))
    second = trial(SWA(start=0.5, every=0.34), lr=0.02)
    assert stack_key(training(first)) == stack_key(training(second))
    assert_members_are_as_alone([(first, (0,)), (second, (0, 1))])


@pytest.mark.parametrize("epochs", [1e-9, 1.0])
def test_a_member_that_diverges_leaves_and_the_others_go_on(epochs):
    tame = dataclasses.replace(trial(budget=Epochs(4.0), schedule=Constant()), lr=0.05)
    wild = dataclasses.replace(tame, lr=1e200)
    members = [(tame, (0,)), (wild, (0, 1)), (tame, (1,))]
    stacked, alone = trainings(members), trainings(members)
    stack = Stack(stacked)
    rows = run(stack, epochs)
    assert [len(stack.members), sum(len(t.groups) for t in stacked)] == [2, 4]
    for own, beside in zip(alone, rows, strict=True):
        expected = ended(own, epochs)
        assert [row[:4] for row in beside] == [row[:4] for row in expected]
    ends = [[m.diverged_at_step for m in each.trained()] for each in stacked]
    assert ends == [[m.diverged_at_step for m in each.trained()] for each in alone]
    assert None not in ends[1]
    assert ends[0] == ends[2] == [None]
    assert [each.step for each in stacked] == [each.step for each in alone]
    assert_same([stacked[0], stacked[2]], [alone[0], alone[2]])


def test_members_stop_at_plateaus_of_their_own():
    budget = UntilPlateau(patience=1, tolerance=0.05, max_epochs=12.0)
    first = trial(budget=budget, schedule=Constant())
    members = [
        (first, (0, 1, 2)),
        (dataclasses.replace(first, lr=0.01), (0,)),
        (dataclasses.replace(first, lr=1.0), (0,)),
    ]
    stacked, alone = trainings(members), trainings(members)
    run(Stack(stacked))
    for own in alone:
        ended(own)
    stops = [[m.stopped_at_step for m in each.trained()] for each in stacked]
    assert stops == [[m.stopped_at_step for m in each.trained()] for each in alone]
    assert len({stop for each in stops for stop in each}) > 1
    assert_same(stacked, alone)


def test_members_go_on_from_checkpoints_in_other_groups():
    members = mixed(SAM(rho=0.1), GradientNoise(alpha=0.01), EMA(half_life=0.5), optimizer=Adam(), lr=0.02)
    whole = trainings(members)
    run(Stack(whole))
    first = trainings(members)
    Stack(first).advance(1.0)
    saved = [each.checkpoint() for each in first]
    second = trainings(members)
    for each, kept in zip(second, saved, strict=True):
        each.restore(kept)
    ended(second[0])
    run(Stack(second[:0:-1]))
    assert_same(second, whole)


def test_what_shapes_the_program_parts_stacks():
    first = trial(SAM(rho=0.1))
    same = [trial(SAM(rho=0.2), lr=0.3), trial(SAM(rho=0.1), schedule=Constant(), draws="x", split_seed=1)]
    others = [
        trial(),
        trial(SAM(rho=0.1, m=4)),
        trial(SAM(rho=0.1, every=2)),
        trial(SAM(rho=0.1), batch_size=6),
        trial(SAM(rho=0.1), budget=Epochs(3.0)),
        trial(SAM(rho=0.1), optimizer=Adam()),
        trial(SAM(rho=0.1), model=MLP(hidden=(5,))),
    ]
    key = stack_key(training(first))
    assert [stack_key(training(of)) == key for of in same] == [True, True]
    assert [stack_key(training(of)) == key for of in others] == [False] * len(others)
    assert stack_key(training(trial(loss=lambda outputs, targets: outputs.sum(-1)))) is None
    assert stack_key(training(first, execution="together")) is None


def writes(input_shape, num_classes):
    return _Writing(input_shape[0], num_classes)


class _Writing(torch.nn.Module):
    """Doubles its inputs in place before a linear layer."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.layer = torch.nn.Linear(inputs, classes)

    def forward(self, inputs):
        return self.layer(inputs.mul_(2.0))


def test_a_network_that_writes_into_its_inputs():
    members = mixed(SAM(rho=0.1), model=writes)
    stacked = trainings(members)
    run(Stack(stacked))
    alone = trainings(members)
    for own in alone:
        ended(own)
    assert_same(stacked, alone)


def test_a_training_is_looked_at_between_two_calls():
    members = mixed()
    stacked, alone = trainings(members), trainings(members)
    stack = Stack(stacked)
    stack.advance()
    for own, other in zip(stacked, alone, strict=True):
        other.advance()
        found, expected = own.evaluate(), other.evaluate()
        assert [row[:4] for row in found] == [row[:4] for row in expected]
        assert [row.value for row in found] == pytest.approx([row.value for row in expected], rel=1e-9)
        assert (own.step, own.epoch) == (other.step, other.epoch)


def test_members_of_several_splits_of_one_data_set_are_read_in_one_go():
    first = trial(data=Digits(num_train=60, num_validation=20), model=MLP(hidden=(4,)), budget=Epochs(1.0))
    second = dataclasses.replace(first, split_seed=1, lr=0.05)
    device = OnDevice("cpu")

    def made():
        members = [(first, (0, 1)), (second, (0,))]
        data = {of.split_seed: of.data.load(of.split_seed) for of, _ in members}
        return [Training(of, s, device.parts(data[of.split_seed]), dtype=torch.float64) for of, s in members]

    stacked, alone = made(), made()
    stack = Stack(stacked)
    assert len(stack.batches.by_source) == 1
    run(stack)
    for own in alone:
        ended(own)
    assert_same(stacked, alone)

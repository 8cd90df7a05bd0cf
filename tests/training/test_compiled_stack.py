"""Stacks whose update is one compiled program: each member is what it is alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.training.test_stack import assert_same, ended, mixed, run, trainings
from tests.trainings import EXAMPLES, trial
from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, AdamW, RMSprop
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.optimizers.muon import Muon
from tune_lb.remedies.conservative import Conservative
from tune_lb.remedies.ema import EMA
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.training import compiled_step
from tune_lb.training.compiled_stack import CompiledStack, compiled_stack
from tune_lb.training.stack import Stack
from tune_lb.training.stacking import stack_key

SLOW = {"marks": pytest.mark.slow}
REMEDIES = [
    pytest.param((), id="none"),
    pytest.param((SAM(rho=0.1), GhostBatchNorm(ghost_batch_size=4), GradientNoise(alpha=0.01), EMA(half_life=0.5))),
    *(pytest.param(examples[-1:], marks=pytest.mark.soak, id=name) for name, examples in EXAMPLES.items()),
]


@pytest.fixture
def traced(monkeypatch):
    """Trace updates as for the compiler, and run the trace without compiling it."""
    monkeypatch.setattr(CompiledStack.__init__, "__defaults__", ("eager",))
    monkeypatch.setattr(compiled_step, "_programs", {})
    torch._dynamo.reset()


def assert_members_are_as_alone(members, size):
    stacked, alone = trainings(members), trainings(members)
    stack = Stack(stacked, compiled=size)
    run(stack)
    for own in alone:
        ended(own)
    assert_same(stacked, alone)
    return stack


@pytest.mark.parametrize("remedies", REMEDIES)
def test_a_member_of_a_compiled_stack_is_as_alone(traced, remedies):
    of = mixed(*remedies)
    keys = [stack_key(each) for each in trainings(of)]
    same = [each for each, key in zip(of, keys, strict=True) if key == keys[0]]
    number = sum(len(seeds) for _, seeds in same)
    # two places are filled with copies of the first, which nobody sees
    stack = assert_members_are_as_alone(same, number + 2 if number > 1 else 2)
    assert stack.program is not None or any(remedy.name in ("conservative", "post_local_sgd") for remedy in remedies)


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(nesterov=True, weight_decay=0.1),
        AdamW(),
        *(pytest.param(kind(), **SLOW, id=kind.__name__) for kind in (Adam, AdaGrad, RMSprop, LARS, LAMB, Muon)),
    ],
    ids=str,
)
def test_optimizers_of_a_compiled_stack(traced, optimizer):
    first = trial(optimizer=optimizer, lr=0.02)
    second = trial(optimizer=dataclasses.replace(optimizer, weight_decay=0.5 * optimizer.weight_decay), lr=0.01)
    assert assert_members_are_as_alone([(first, (0, 1)), (second, (0,))], 3).program is not None


def test_one_program_serves_stacks_of_other_numbers(traced):
    counters = torch._dynamo.utils.counters["stats"]
    before = counters["unique_graphs"]
    for rate in (0.01, 0.02):
        of = trial(SAM(rho=rate), optimizer=SGD(weight_decay=rate), lr=rate)
        run(Stack(trainings([(of, (0, 1))]), compiled=2))
    assert counters["unique_graphs"] - before == 1


def test_fewer_than_half_and_what_makes_several_updates_of_one_are_advanced_eagerly():
    (one,) = trainings([(trial(), (0,))])
    assert Stack([one], compiled=3).program is None
    (one,) = trainings([(trial(Conservative(iterations=2)), (0, 1))])
    assert compiled_stack(one, 2) is None


def test_what_cannot_be_compiled_trains_eagerly_and_is_said_once(monkeypatch):
    def refuse(graph, inputs):
        raise RuntimeError("no compiler here\nmore of it")

    monkeypatch.setattr(CompiledStack.__init__, "__defaults__", (refuse,))
    monkeypatch.setattr(compiled_step, "_programs", {})
    torch._dynamo.reset()
    with pytest.warns(RuntimeWarning, match="members train together, but not compiled: .*no compiler here") as caught:
        stack = assert_members_are_as_alone(mixed(), 5)
    assert stack.program is None
    assert len([w for w in caught if "not compiled" in str(w.message)]) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_real_compiler_agrees(monkeypatch):
    monkeypatch.setattr(compiled_step, "_programs", {})
    assert assert_members_are_as_alone(mixed(optimizer=SGD(weight_decay=0.1)), 6).program is not None

"""Compiled steps: what eager training gives, for every remedy, and for other values without another compilation."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch

from tests.trainings import EXAMPLES, flat, history, same_bits, same_up_to_rounding, training, trajectory, trial
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, RMSprop
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.optimizers.muon import Muon
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.warmup import Warmup
from tune_lb.training import compiled_step as program
from tune_lb.training.compiled_step import CompiledStep, compiled_step, program_key

CHOSEN = ("sam", "gradient_noise", "layer_noise", "ghost_batch_norm", "ema", "mixup", "batch_growth", "post_local_sgd")
"""Of each kind of hook one, with state, now and then, or with batches that change: all would take a quarter of an hour."""

COMPILED = [
    pytest.param(examples[-1], marks=pytest.mark.slow if name in CHOSEN else pytest.mark.soak)
    for name, examples in EXAMPLES.items()
]


@pytest.fixture
def traced(monkeypatch):
    """Trace steps as for the compiler, which freezes what is not a tensor, and run the trace without compiling it."""
    monkeypatch.setattr(CompiledStep.__init__, "__kwdefaults__", {"backend": "eager"})
    monkeypatch.setattr(program, "_programs", {})
    torch._dynamo.reset()


def nearby(remedy):
    """Return the remedy with every number that enters the step as a tensor a tenth smaller."""
    numbers = {f.name: getattr(remedy, f.name) for f in dataclasses.fields(remedy)}
    return remedy.resolved({name: 0.9 * value for name, value in numbers.items() if isinstance(value, float)})


def reached(running):
    """Return weights and buffers of each member by seed."""
    return {member.seed: flat(member.params | member.buffers) for member in running.trained()}


def ends(of, seeds, execution):
    """Return where each member is at the end of training."""
    running = training(of, seeds, execution)
    history(running)
    return reached(running)


def halve(optimizer, *_):
    for weight in optimizer.param_groups[0]["params"]:
        weight.grad.mul_(0.5)


@dataclasses.dataclass(frozen=True)
class Hooked(SGD):
    def build(self, tensors, lr, *, members_first=False):
        built = super().build(tensors, lr, members_first=members_first)
        built.register_step_pre_hook(halve)
        return built


def halving(step):
    @functools.wraps(step)
    def halved(self):
        halve(self)
        return step(self)

    return halved


class Halving(torch.optim.SGD):
    """Somebody's optimiser, whose step is wrapped."""

    step = halving(torch.optim.SGD.step)


@dataclasses.dataclass(frozen=True)
class Wrapped(SGD):
    def build(self, tensors, lr, *, members_first=False):
        return Halving(tensors, lr, momentum=self.momentum)


@pytest.mark.parametrize("kind", [Hooked, Wrapped])
def test_what_somebody_put_around_a_step_stays(kind):
    halved, plain = (ends(trial(optimizer=o), (0,), "alone") for o in (kind(momentum=0.9), SGD(momentum=0.9)))
    assert same_up_to_rounding(halved, ends(trial(optimizer=SGD(momentum=0.9), lr=0.05), (0,), "alone"))
    assert not same_up_to_rounding(halved, plain)


@pytest.mark.parametrize("remedy", COMPILED, ids=repr)
def test_one_program_serves_all_values_of_a_remedy(traced, remedy):
    way = "compiled_together"
    first, second = trial(remedy), trial(nearby(remedy), lr=0.03)
    for of in (first, second):
        expected = ends(of, (0, 1), "alone")
        assert same_up_to_rounding(expected, ends(of, (0, 1), way))
    assert not same_up_to_rounding(expected, ends(first, (0, 1), "alone"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(momentum=0.5, nesterov=True),
        Adam(weight_decay=0.01, eps=1e-4),
        AdaGrad(),
        RMSprop(momentum=0.5),
        LARS(),
        LAMB(),
        Muon(),
    ],
    ids=repr,
)
def test_every_optimizer_compiles_to_what_it_is(traced, optimizer):
    # compiled, torch's Adam has its step as a float32 tensor, and so the corrections for it; slopes that are zero but for rounding
    # (a bias before batch norm) it would move by a visible amount with its own eps
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if isinstance(optimizer, Adam) else {"rtol": 1e-9, "atol": 1e-12}
    for lr in (0.1, 0.01):
        of = trial(optimizer=optimizer, lr=lr)
        expected = trajectory(of, (0, 1), dtype=torch.float64)
        found = trajectory(of, (0, 1), "compiled_together", dtype=torch.float64)
        for seed, values in expected.items():
            torch.testing.assert_close(found[seed], values, **tolerance)


def test_trials_that_differ_in_numbers_share_a_program():
    def key(**changes):
        remedies = [GhostBatchNorm(changes.pop("ghost", 4)), SAM(changes.pop("rho", 0.1)), Warmup(1.0)]
        return program_key(trial(*remedies, **changes), "compiled_alone", 1)

    assert key() == key(rho=0.3) == key(lr=0.2) == key(split_seed=3) == key(draws="x")
    others = [key(ghost=2), key(rho=0.0), key(optimizer=SGD(momentum=0.8))]
    assert len({key(), *others}) == 4


def test_programs_are_kept_and_the_oldest_dropped(monkeypatch):
    monkeypatch.setattr(program, "_programs", {})
    monkeypatch.setattr(program, "MAX_PROGRAMS", 2)
    made = []

    def ask(key):
        return compiled_step(key, lambda: made.append(key) or key)

    assert [ask(key) for key in ("a", "b", "a", "c", "a", "b")] == ["a", "b", "a", "c", "a", "b"]
    assert made == ["a", "b", "c", "b"]


@pytest.mark.slow
def test_members_of_two_trainings_do_not_meet_in_a_shared_program(traced):
    of = trial(GradientNoise(alpha=0.01))
    expected = ends(of, (0, 1), "compiled_alone")
    first, second = (training(of, (seed,), "compiled_alone") for seed in (0, 1))
    assert first.program is second.program
    while not first.done:
        first.advance(0.5)
        second.advance(0.5)
    assert same_bits(reached(first) | reached(second), expected)


@pytest.mark.slow
def test_a_compiled_training_goes_on_from_its_snapshot(traced):
    of = trial(SAM(rho=0.1), optimizer=Adam())
    running = training(of, (0, 1), "compiled_together")
    running.advance(1.0)
    snapshot = running.checkpoint()
    other = training(of, (0, 1), "compiled_together")
    other.restore(snapshot)
    history(other)
    assert same_bits(reached(other), ends(of, (0, 1), "compiled_together"))


@pytest.mark.parametrize(
    "remedies",
    [
        pytest.param((SAM(rho=0.1), GhostBatchNorm(ghost_batch_size=4)), marks=pytest.mark.slow, id="two"),
        *(pytest.param(examples[-1:], marks=pytest.mark.soak, id=name) for name, examples in EXAMPLES.items()),
    ],
)
def test_the_real_compiler_agrees(remedies):
    of = trial(*remedies)
    assert same_up_to_rounding(trajectory(of, (0, 1)), trajectory(of, (0, 1), "compiled_together"))


def test_more_programs_than_torch_allows_one_function_are_all_compiled(traced):
    counters = torch._dynamo.utils.counters["frames"]
    before = counters["ok"]
    # torch's own limit is 8, after which the rest runs eagerly in silence
    for width in range(1, 11):
        running = training(trial(model=MLP(hidden=(width,))), (0,), "compiled_alone")
        running.advance(1e-9)
    assert counters["ok"] - before == 10

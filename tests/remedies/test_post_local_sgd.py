"""Post-local SGD against K ordinary modules with optimisers of their own, trained side by side."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from tests.trainings import batch, flat, history, refusals, training, trial
from tune_lb.budgets import Updates
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD, Adam
from tune_lb.optimizers.lars import LARS
from tune_lb.remedies.batch_growth import BatchGrowth
from tune_lb.remedies.conservative import Conservative
from tune_lb.remedies.ema import EMA
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.post_local_sgd import PostLocalSGD
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant
from tune_lb.training.gradient import by_autograd, mean_gradient
from tune_lb.training.remedy import Nesting, Remedy

WAYS = ["alone", "together"]


def of_replicas(of, start, running, *, num, local_steps, first_local):
    """Train K modules the ordinary way: gradients averaged before the turn, weights every local_steps updates after it."""
    modules = [of.model((5,), 3).double() for _ in range(num)]
    for module in modules:
        module.load_state_dict(start.params | start.buffers)
    optimizers = [of.optimizer.build(module.parameters(), of.lr) for module in modules]
    means = []
    for step in range(running.plan.num_updates):
        given = running.batches.batch(start.seed, step)
        for k, module in enumerate(modules):
            module.zero_grad()
            F.cross_entropy(module(given.inputs[k::num]), given.targets[k::num]).backward()
        if step < first_local:
            for own in zip(*(module.parameters() for module in modules), strict=True):
                mean = torch.stack([value.grad for value in own]).mean(0)
                for value in own:
                    value.grad = mean.clone()
        for optimizer in optimizers:
            optimizer.step()
        if step >= first_local and (step - first_local + 1) % local_steps == 0:
            with torch.no_grad():
                for own in zip(*(module.parameters() for module in modules), strict=True):
                    mean = torch.stack(own).mean(0)
                    for value in own:
                        value.copy_(mean)
        means.append(torch.stack([flat(dict(module.named_parameters())) for module in modules]).mean(0))
        # statistics are shared: every replica's own batch moves them, and their mean is kept
        with torch.no_grad():
            for own in zip(*(module.buffers() for module in modules), strict=True):
                mean = torch.stack([value.double() for value in own]).mean(0)
                for value in own:
                    value.copy_(mean)
    spread = flat(dict(modules[0].named_parameters())) - flat(dict(modules[1].named_parameters()))
    return torch.stack(means), flat(dict(modules[0].named_buffers())), spread.abs().max()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9, weight_decay=0.01), Adam()], ids=str)
@pytest.mark.parametrize(("start", "first_local", "local_steps"), [(0.0, 0, 4), (0.3, 2, 3), (0.5, 3, 2), (0.8, 5, 1)])
def test_training_is_that_of_modules_side_by_side(way, optimizer, start, first_local, local_steps):
    remedy = PostLocalSGD(local_batch_size=2, local_steps=local_steps, start=start)
    of = trial(remedy, optimizer=optimizer, schedule=Constant(), lr=0.05)
    running = training(of, (0, 4), way)
    starts = list(running.trained())
    seen = {seed: [] for seed in (0, 4)}
    while not running.done:
        running.advance(1e-9)
        for member in running.trained():
            seen[member.seed].append(flat(member.params))
    ends = {member.seed: member for member in running.trained()}
    for begin in starts:
        expected, buffers, spread = of_replicas(
            of, begin, running, num=4, local_steps=local_steps, first_local=first_local
        )
        torch.testing.assert_close(torch.stack(seen[begin.seed]), expected, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(flat(ends[begin.seed].buffers), buffers, rtol=1e-8, atol=1e-10)
        # six updates: replicas stand apart at the end unless an average was due with the last
        assert (spread > 1e-6) == bool((6 - first_local) % local_steps)


def test_averaging_after_every_step_is_sgd_on_the_mean_gradient_of_the_pieces():
    """Mean_k (w - rate (m v_k + g_k)) = w - rate (m mean v + mean g): for a linear optimiser nothing is left of locality."""
    plain = MLP(hidden=(6,), batch_norm=False)
    settings = {"model": plain, "schedule": Constant(), "optimizer": SGD(momentum=0.9)}
    ends = []
    for remedies in ((), (PostLocalSGD(local_batch_size=2, local_steps=1, start=0.0),)):
        running = training(trial(*remedies, **settings))
        history(running)
        ends.append(flat(next(running.trained()).params))
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-12)


def test_local_steps_on_a_quadratic_are_worse_than_none_by_the_variance_of_curvature():
    """One dimension, losses a_k w^2 / 2: H local steps give w mean_k (1 - rate a_k)^H, which Jensen puts above the mean's."""
    remedy = PostLocalSGD(local_batch_size=1, local_steps=3, start=0.0)
    curvatures, rate = torch.tensor([0.5, 1.5, 4.0]).double(), 0.2

    class Quadratic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1).double())

        def forward(self, inputs):
            return inputs[:, 0] * self.weight.square() / 2

    inner = mean_gradient(Quadratic(), lambda outputs, given: outputs, by_autograd)
    gradient = remedy.gradient(inner)
    params = remedy.replicated({"weight": torch.ones(1).double()}, 3)
    values = {"post_local_sgd.start": 0.0, "plan.num_updates": 3.0}
    for step in range(3):
        given = batch(curvatures[:, None], torch.zeros(3), values, step=step)
        _, gradients, _ = gradient(params, {}, given)
        params = {"weight": params["weight"] - rate * gradients["weight"]}
    merged = remedy.merged(params)["weight"]
    torch.testing.assert_close(merged[0], ((1 - rate * curvatures) ** 3).mean(), rtol=1e-13, atol=0)
    assert merged > (1 - rate * curvatures.mean()) ** 3


def test_the_iterate_the_gradient_and_the_next_phase_are_the_mean():
    of = trial(PostLocalSGD(local_batch_size=2, local_steps=100, start=0.0))
    running = training(of)
    running.advance(1e-9)
    shapes = {name: value.shape for name, value in running.initial(0).items()}
    member = next(running.trained())
    iterate, buffers = running.iterates()[0]
    assert {name: value.shape for name, value in iterate.items()} == shapes
    assert torch.equal(flat(iterate), flat(member.params))
    assert buffers.keys() == member.buffers.keys()
    gradients = running.gradients()[0]
    before = {name: value.clone() for name, value in running.groups[0].params.items()}
    assert {name: value.shape for name, value in gradients.items()} == shapes
    assert all(torch.equal(value, running.groups[0].params[name]) for name, value in before.items())


def test_it_is_measured_stopped_and_gone_on_with_like_any_other():
    of = trial(PostLocalSGD(local_batch_size=4, local_steps=2, start=0.0), SAM(rho=0.1), EMA(half_life=0.5))
    whole, first, rest = training(of), training(of), training(of)
    history(whole)
    first.advance(1.0)
    rest.restore(copy.deepcopy(first.checkpoint()))
    history(rest)
    for a, b in zip(whole.trained(), rest.trained(), strict=True):
        assert torch.equal(flat(a.params), flat(b.params))
        assert torch.equal(flat(a.alternatives["last"]), flat(b.alternatives["last"]))
        assert not torch.equal(flat(a.params), flat(a.alternatives["last"]))


@pytest.mark.parametrize(
    ("remedies", "message"),
    [
        ((PostLocalSGD(local_batch_size=3),), "does not divide batch_size = 8"),
        ((PostLocalSGD(local_batch_size=8),), "less than twice as large"),
        ((PostLocalSGD(local_batch_size=2), GradientNoise(alpha=0.1)), "not defined together"),
        ((PostLocalSGD(local_batch_size=2), Conservative(iterations=2)), "both change the update"),
        ((PostLocalSGD(local_batch_size=2), BatchGrowth(initial=4)), "the number of replicas is fixed"),
        ((PostLocalSGD(local_batch_size=2), SAM(rho=0.1, m=4)), "sam.m = 4 does not divide"),
        ((PostLocalSGD(local_batch_size=2), GhostBatchNorm(ghost_batch_size=4)), "ghost_batch_norm"),
        ((PostLocalSGD(local_batch_size=1),), "at least two examples"),
    ],
)
def test_what_makes_no_sense_is_refused(remedies, message):
    assert any(message in line for line in refusals(*remedies))


@pytest.mark.parametrize("start", [0.1, 0.3, 0.6, 0.7])
def test_float32_and_the_schedule_agree_on_the_turn(start):
    """0.3 of 50 updates is 15 as a float64, and more than 15 as a float32."""
    remedy = PostLocalSGD(local_batch_size=4, local_steps=5, start=start)
    running = training(trial(remedy, budget=Updates(50), schedule=Constant()), dtype=torch.float32)
    apart = []
    while not running.done:
        running.advance(1e-9)
        first = next(iter(running.groups[0].params.values()))
        apart.append(not torch.equal(first[0, 0], first[0, 1]))
    turn = round(50 * start)
    assert not any(apart[:turn])
    assert apart[turn:] == [(step + 1) % 5 != 0 for step in range(50 - turn)]


def test_a_turn_after_the_last_update_is_refused():
    assert refusals(PostLocalSGD(local_batch_size=2, start=0.8)) == []
    assert any(
        "leaves no local step in 6 updates" in line for line in refusals(PostLocalSGD(local_batch_size=2, start=0.9))
    )


@dataclass(frozen=True)
class Slopes(Remedy):
    """Has a state that its gradient hook reads."""

    name: ClassVar[str] = "slopes"

    nesting: ClassVar[Nesting] = Nesting.POINT
    slope: float = 1.0

    def gradient(self, inner):
        return inner

    def initial_state(self, params):
        return {name: torch.zeros_like(value) for name, value in params.items()}


def test_a_state_that_gradients_read_is_refused():
    of = trial(PostLocalSGD(local_batch_size=2), Slopes(slope=2.0))
    found = of.remedies[0].conflicts(of, 24, of.model((5,), 3))
    assert any("not defined together" in line for line in found)


def test_an_optimiser_of_whole_layers_is_refused():
    of = trial(PostLocalSGD(local_batch_size=2), optimizer=LARS())
    found = of.remedies[0].conflicts(of, 24, of.model((5,), 3))
    assert any("LARS looks at whole tensors" in line for line in found)


def test_it_composes_with_what_acts_on_points_inputs_and_averages():
    assert refusals(PostLocalSGD(local_batch_size=4), SAM(rho=0.1, m=2), GhostBatchNorm(ghost_batch_size=2)) == []
    assert trial(PostLocalSGD(local_batch_size=4)).plan(24).gradient_evaluations == 6

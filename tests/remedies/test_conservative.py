"""Conservative training against the proximal problem in closed form and against explicit loops of torch.optim."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trainings import batch, flat, history, refusals, stacked_batch, training, trial
from tune_lb.budgets import GradientEvaluations
from tune_lb.optimizers.elementwise import SGD, Adam
from tune_lb.remedies.conservative import Conservative
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant
from tune_lb.settings.domain import over
from tune_lb.training.gradient import by_autograd, mean_gradient, over_members, stack
from tune_lb.training.step import composed_step

WAYS = ["alone", "together"]


class Quadratic(nn.Module):
    """Gives each example the loss w^T A w / 2 + (its input)^T w."""

    def __init__(self, A):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(A)).double())
        self.register_buffer("A", A)

    def forward(self, inputs):
        return self.weight @ self.A @ self.weight / 2 + inputs @ self.weight


def stepped(iterations, lam, rate):
    """The weights after one conservative step on a quadratic, and what the problem was: (w, A, b, start)."""
    draws = torch.Generator().manual_seed(0)
    half = torch.randn(4, 4, generator=draws).double()
    A, start = half @ half.T + torch.eye(4), torch.randn(4, generator=draws).double()
    inputs = torch.randn(6, 4, generator=draws).double()
    remedy = Conservative(iterations=iterations, lam=lam)
    gradient = remedy.gradient(mean_gradient(Quadratic(A), lambda outputs, batch: outputs, by_autograd))
    weights = {"weight": start[None].clone()}
    optimizer = torch.optim.SGD(weights.values(), lr=rate)
    step = composed_step(over_members(gradient, vectorize=False), [remedy], optimizer)
    given = stacked_batch([batch(inputs, torch.zeros(6), {"conservative.lam": lam})])
    loss, _ = step(weights, stack([{"A": A}]), given, rate)
    at_start = start @ A @ start / 2 + inputs.mean(0) @ start
    assert loss.item() == pytest.approx(at_start.item(), rel=1e-13)
    return weights["weight"][0], A, inputs.mean(0), start


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_every_iteration_is_a_step_on_the_pulled_problem(iterations):
    found, A, b, start = stepped(iterations, lam=0.7, rate=0.05)
    w = start.clone()
    for _ in range(iterations):
        w = w - 0.05 * (A @ w + b + 0.7 * (w - start))
    torch.testing.assert_close(found, w, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "lam", [pytest.param(0.0, marks=pytest.mark.slow), 0.5, pytest.param(20.0, marks=pytest.mark.slow)]
)
def test_many_iterations_solve_the_proximal_problem(lam):
    found, A, b, start = stepped(3000, lam, rate=0.03)
    expected = torch.linalg.solve(A + lam * torch.eye(4), lam * start - b)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9, weight_decay=0.01), Adam()], ids=str)
def test_training_is_the_loop_over_sub_problems(way, optimizer):
    of = trial(Conservative(iterations=3, lam=2.0), optimizer=optimizer, schedule=Constant(), lr=0.02)
    running = training(of, (0, 4), way)
    starts = list(running.trained())
    history(running)
    for start, end in zip(starts, running.trained(), strict=True):
        module = of.model((5,), 3).double()
        module.load_state_dict(start.params | start.buffers)
        own = optimizer.build(module.parameters(), 0.02)
        for step in range(6):
            given = running.batches.batch(start.seed, step)
            anchor = [value.detach().clone() for value in module.parameters()]
            for iteration in range(3):
                kept = [value.clone() for value in module.buffers()]
                pull = sum((value - a).square().sum() for value, a in zip(module.parameters(), anchor, strict=True))
                own.zero_grad()
                (F.cross_entropy(module(given.inputs), given.targets) + 2.0 / 2 * pull).backward()
                own.step()
                if iteration:
                    for value, before in zip(module.buffers(), kept, strict=True):
                        value.copy_(before)
        torch.testing.assert_close(flat(end.params), flat(dict(module.named_parameters())), rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(flat(end.buffers), flat(dict(module.named_buffers())), rtol=1e-8, atol=1e-10)


def test_one_iteration_is_ordinary_training_whatever_the_pull():
    assert Conservative(lam=5.0).is_neutral()
    assert trial(Conservative(lam=5.0)).active == []
    assert refusals(Conservative(iterations=3), GradientNoise(alpha=0.1)) == []


def test_the_noise_of_a_batch_is_the_same_in_all_its_steps():
    remedies = (Conservative(iterations=2), GradientNoise(alpha=1e6))
    running = training(trial(*remedies, optimizer=SGD(momentum=0.0), schedule=Constant(), lr=1e-6, batch_size=24))
    start = flat(next(running.trained()).params)
    running.advance(1e-9)
    noise = running.batches.batch(0, 0).draws["gradient_noise"]
    moved = flat(next(running.trained()).params) - start
    # beside noise of deviation 1,000 the gradients are nothing: two steps along one and the same vector
    torch.testing.assert_close(moved, -2 * 1e-6 * 1e3 * noise, rtol=1e-3, atol=1e-5)


def test_its_gradients_are_counted():
    plan = trial(Conservative(iterations=3), budget=GradientEvaluations(13)).plan(24)
    assert (plan.num_updates, plan.gradient_evaluations) == (4, 12)


def test_a_searched_cost_is_counted_at_its_largest():
    template = trial(
        Conservative(iterations=over([2, 5, 3]), lam=over(0.1, 1.0)), SAM(rho=0.1, every=over(1, 4, integer=True))
    )
    assert template.evaluations_per_update == 5 * 2
    assert template.resolved({"conservative.iterations": 3, "sam.every": 4}).evaluations_per_update == 3 * 1.25

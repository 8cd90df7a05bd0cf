"""Random weights of the examples: mean, covariance, and isotropic noise of the same trace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.trainings import batch, flat, training, trial
from tune_lb.losses import cross_entropy
from tune_lb.models.mlp import MLP
from tune_lb.remedies.multiplicative_noise import MultiplicativeNoise
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant
from tune_lb.streams import generator
from tune_lb.training.gradient import by_autograd, mean_gradient, on_targets

NAME, B, b, N = "multiplicative_noise", 12, 3, 5


class Linear(nn.Module):
    """Each example's gradient is its input."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(N).double())

    def forward(self, inputs):
        return inputs @ self.w


def examples():
    draws = torch.Generator().manual_seed(0)
    return torch.randn(B, 2, generator=draws).double() @ torch.randn(2, N, generator=draws).double() + 1.0


def gradient(remedy, step):
    """Return the noisy gradient of the examples at a step."""
    loss = remedy.loss(lambda outputs, batch: outputs)
    of_one = remedy.gradient(mean_gradient(Linear(), loss, by_autograd))
    drawn = remedy.draws(generator(step), B, N, torch.zeros(()).double())
    given = batch(examples(), torch.zeros(B), {f"{NAME}.small_batch_size": float(b)}, {NAME: drawn})
    return of_one({"w": torch.zeros(N).double()}, {}, remedy.batch(lambda given: given)(given))[1]["w"]


def sample(num=2000, **settings):
    remedy = MultiplicativeNoise(small_batch_size=b, **settings)
    return torch.stack([gradient(remedy, step) for step in range(num)])


@pytest.mark.parametrize("law", ["normal", "bernoulli"])
def test_the_mean_is_the_gradient_and_the_covariance_that_of_the_examples(law):
    found, g = sample(law=law), examples()
    expected = (B / b - 1) / B * (g.T @ g / B)
    mean_error = (found.mean(0) - g.mean(0)) / (expected.diagonal() / len(found)).sqrt()
    assert mean_error.abs().max().item() < 5
    error = torch.linalg.matrix_norm(torch.cov(found.T) - expected) / torch.linalg.matrix_norm(expected)
    assert error.item() < 0.2
    # two directions in the examples and a shift: nothing is added outside
    outside = torch.linalg.svd(g)[2][3:]
    assert ((found - g.mean(0)) @ outside.T).abs().max().item() < 1e-12


def test_bernoulli_weights_are_a_batch_of_about_b():
    remedy = MultiplicativeNoise(small_batch_size=b, law="bernoulli")
    drawn = remedy.draws(generator("weights"), 6000, N, torch.zeros(()).double())
    values = {f"{NAME}.small_batch_size": 1500.0}
    weights = remedy.batch(lambda x: x)(batch(torch.zeros(6000), torch.zeros(6000), values, {NAME: drawn})).examples[
        NAME
    ]
    assert set(weights.tolist()) == {0.0, 4.0}
    # five standard errors
    assert abs(weights.mean().item() - 1) < 5 * (3 / 6000) ** 0.5


@pytest.mark.slow
def test_the_isotropic_control_has_the_same_trace_and_no_direction():
    found, g = sample(covariance="isotropic"), examples()
    trace = (B / b - 1) / B * (g**2).sum().item() / B
    covariance = torch.cov(found.T)
    assert covariance.trace().item() == pytest.approx(trace, rel=0.1)
    off = covariance - covariance.trace() / N * torch.eye(N).double()
    assert torch.linalg.matrix_norm(off).item() < 0.1 * trace
    assert MultiplicativeNoise(small_batch_size=b, covariance="isotropic").gradient_evaluations() == 2.0


def test_a_step_in_training_is_the_gradient_of_the_weighted_loss():
    remedy = MultiplicativeNoise(small_batch_size=2)
    of = trial(remedy, lr=1.0, schedule=Constant())
    running = training(of)
    start, given = next(running.trained()), running.batches.batch(0, 0)
    drawn = remedy.draws(generator("", 0, NAME, 0), 8, 63, given.inputs)
    weights = 1 + 3**0.5 * drawn
    module = copy.deepcopy(running.evaluation_module).train()
    module.load_state_dict(start.params | start.buffers)
    loss = (weights * cross_entropy(module(given.inputs), given.targets)).mean()
    expected = torch.autograd.grad(loss, tuple(module.parameters()))
    running.advance(1e-9)
    moved = flat(start.params) - flat(next(running.trained()).params) - 1e-3 * flat(start.params)
    torch.testing.assert_close(moved, torch.cat([g.flatten() for g in expected]), rtol=1e-9, atol=1e-12)


def test_pieces_keep_the_weights_of_their_examples():
    remedy = MultiplicativeNoise(small_batch_size=2)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    params = {name: value.detach() for name, value in module.named_parameters()}
    plain = mean_gradient(module, remedy.loss(on_targets(cross_entropy)), by_autograd)
    draws = torch.Generator().manual_seed(0)
    given = batch(
        torch.randn(8, 4, generator=draws).double(),
        torch.arange(8) % 3,
        {f"{NAME}.small_batch_size": 2.0, "sam.rho": 1e-13},
        {NAME: torch.randn(8, generator=draws).double()},
    )
    given = remedy.batch(lambda x: x)(given)
    in_pieces = SAM(rho=1e-13, m=2).gradient(plain)(params, {}, given)[1]
    torch.testing.assert_close(flat(in_pieces), flat(plain(params, {}, given)[1]), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("size", "allowed"), [(7, True), (8, False), (20, False)])
def test_a_batch_to_imitate_is_smaller_than_the_batch(size, allowed):
    of = trial(MultiplicativeNoise(small_batch_size=size))
    lines = of.remedies[0].conflicts(of, 24, MLP()((5,), 3))
    assert bool(lines) != allowed
    assert all(f"small_batch_size = {size}" in line and "batch_size = 8" in line for line in lines)

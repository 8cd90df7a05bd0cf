"""The penalty against its exact gradient: 2 c H g, from the Hessian of a quadratic and from double backward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.remedies.test_sam import Quadratic, params, quadratic
from tests.trainings import batch, flat, training, trial
from tune_lb.losses import cross_entropy
from tune_lb.models.mlp import MLP
from tune_lb.remedies.gradient_norm_penalty import GradientNormPenalty
from tune_lb.remedies.sam import SAM
from tune_lb.training.gradient import by_autograd, mean_gradient, on_targets

C = 0.3


def step(inputs, targets, distance=0.01):
    values = {"gradient_norm_penalty.coefficient": C, "gradient_norm_penalty.distance": distance}
    return batch(inputs, targets, values)


@pytest.mark.parametrize("distance", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("m", [None, 1, 2, 3, 6])
def test_closed_form_on_a_quadratic_whatever_the_distance(m, distance):
    A, w, inputs = quadratic()
    plain = mean_gradient(Quadratic(A), lambda outputs, _: outputs, by_autograd)
    gradient = GradientNormPenalty(coefficient=C, m=m).gradient(plain)
    loss, found, _ = gradient(params(w), {"A": A}, step(inputs, torch.zeros(6), distance))
    means = [inputs[j :: 6 // (m or 6)].mean(0) for j in range(6 // (m or 6))]
    each = [A @ w + mean for mean in means]
    expected = torch.stack([g + 2 * C * A @ g for g in each]).mean(0)
    torch.testing.assert_close(flat(found), expected, rtol=1e-9, atol=1e-9)
    assert loss.item() == pytest.approx((w @ A @ w / 2 + inputs.mean(0) @ w).item(), rel=1e-12)


def test_it_is_the_gradient_of_loss_and_penalty_on_a_network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, targets = torch.randn(8, 4).double(), torch.arange(8) % 3
    weights = tuple(module.parameters())
    total = torch.zeros(()).double()
    for j in range(2):
        loss = cross_entropy(module(x[j::2]), targets[j::2]).mean()
        pieces = torch.autograd.grad(loss, weights, create_graph=True)
        total = total + (loss + C * sum((piece**2).sum() for piece in pieces)) / 2
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(total, weights)])
    plain = mean_gradient(module, on_targets(cross_entropy), by_autograd)
    gradient = GradientNormPenalty(coefficient=C, m=4).gradient(plain)
    errors = [
        (flat(gradient(dict(module.named_parameters()), {}, step(x, targets, distance))[1]) - expected).norm().item()
        for distance in (1e-2, 1e-3, 1e-4)
    ]
    assert errors[2] < 1e-4
    # a one-sided difference: the error is of the first order
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2)


def test_a_zero_gradient_stays_zero():
    A, w, _ = quadratic()
    plain = mean_gradient(Quadratic(A), lambda outputs, _: outputs, by_autograd)
    gradient = GradientNormPenalty(coefficient=C).gradient(plain)
    _, found, _ = gradient(params(0 * w), {"A": A}, step(torch.zeros(6, 7).double(), torch.zeros(6)))
    assert torch.equal(flat(found), torch.zeros(7).double())


def test_statistics_and_loss_are_those_of_one_plain_pass():
    found = []
    for remedies in ([], [GradientNormPenalty(coefficient=C)]):
        running = training(trial(*remedies))
        rows = running.advance(1e-9)
        found.append((flat(next(running.trained()).buffers), [row.value for row in rows]))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize(
    ("remedies", "words"),
    [
        ([GradientNormPenalty(coefficient=0.1, m=3)], ["gradient_norm_penalty.m = 3", "1, 2, 4, 8"]),
        ([GradientNormPenalty(coefficient=0.1, m=1)], ["gradient_norm_penalty.m = 1", "two examples"]),
        ([GradientNormPenalty(coefficient=0.1), SAM(rho=0.1)], ["gradient_norm_penalty and sam", "not defined"]),
        ([GradientNormPenalty(coefficient=0.0, m=3)], []),
    ],
)
def test_what_cannot_be_done_is_refused(remedies, words):
    of = trial(*remedies)
    lines = of.problems() + [line for r in of.active for line in r.conflicts(of, 24, MLP()((5,), 3))]
    assert bool(lines) == bool(words)
    assert all(word in lines[0] for word in words), lines
    assert trial(GradientNormPenalty(coefficient=0.1, m=4)).evaluations_per_update == 2.0

"""Gradient noise by its first two moments, and what else is in the step with it."""

from __future__ import annotations

import pytest
import torch

from tests.trainings import batch, flat, training, trial
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant
from tune_lb.streams import generator

ALPHA, GAMMA = 0.3, 0.55


def drawn(seed, step, num_parameters, salt=""):
    stream = generator(salt, seed, "gradient_noise", step)
    return GradientNoise(alpha=1.0).draws(stream, 8, num_parameters, torch.zeros(1).double())


def noisy(gradients, step, draws):
    of_zero = GradientNoise(alpha=ALPHA, gamma=GAMMA).gradient(
        lambda params, buffers, batch: (torch.tensor(1.0), gradients, {})
    )
    values = {"gradient_noise.alpha": ALPHA, "gradient_noise.gamma": GAMMA}
    return of_zero({}, {}, batch(torch.zeros(1), torch.zeros(1), values, {"gradient_noise": draws}, step))[1]


@pytest.mark.parametrize("step", [0, 10, 1000])
def test_mean_and_variance(step):
    n = 200_000
    draws = drawn(0, step, n)
    found = flat(noisy({"w": torch.full((n // 2, 2), 5.0).double()}, step, draws)) - 5.0
    variance = ALPHA / (1 + step) ** GAMMA
    # five standard errors of a mean, and of a variance of normal numbers
    assert abs(found.mean().item()) < 5 * (variance / n) ** 0.5
    assert abs(found.var().item() / variance - 1) < 5 * (2 / n) ** 0.5
    assert abs((found[::2] * found[1::2]).mean().item()) < 5 * variance / (n / 2) ** 0.5


def test_every_parameter_gets_its_own_part_of_the_draw():
    draws = torch.arange(5.0).double()
    found = noisy({"a": torch.zeros(2, 1).double(), "b": torch.zeros(3).double()}, 0, draws)
    assert found["a"].shape == (2, 1)
    torch.testing.assert_close(flat(found), ALPHA**0.5 * draws, rtol=1e-14, atol=0)


def test_the_stream_is_that_of_seed_step_and_salt_alone():
    assert torch.equal(drawn(3, 7, 50), drawn(3, 7, 50))
    others = [drawn(3, 8, 50), drawn(4, 7, 50), drawn(3, 7, 50, "placebo")]
    for other in others:
        assert abs(torch.corrcoef(torch.stack([drawn(3, 7, 50), other]))[0, 1]) < 0.6


def first_step(*remedies):
    """Return how the first update of rate 1 moves the weights, turned around: the gradient as the optimiser saw it."""
    running = training(trial(*remedies, optimizer=SGD(momentum=0.0), schedule=Constant(), lr=1.0))
    start = flat(next(running.trained()).params)
    running.advance(1e-9)
    return start - flat(next(running.trained()).params), start


@pytest.mark.parametrize("others", [[], [SAM(rho=0.2)], [SAM(rho=0.2, m=4)]], ids=str)
def test_the_noise_is_added_once_per_step_to_what_is_inside_it(others):
    inside, start = first_step(*others)
    outside, _ = first_step(*others, GradientNoise(alpha=ALPHA, gamma=GAMMA))
    torch.testing.assert_close(outside - inside, ALPHA**0.5 * drawn(0, 0, len(start)), rtol=1e-9, atol=1e-12)


def test_weight_decay_and_momentum_come_after_the_noise():
    of = trial(
        GradientNoise(alpha=ALPHA, gamma=GAMMA),
        optimizer=SGD(momentum=0.5, weight_decay=0.2),
        schedule=Constant(),
        lr=1e-9,
    )
    running, plain = training(of), training(trial(optimizer=SGD(momentum=0.5), schedule=Constant(), lr=1e-9))
    start = flat(next(running.trained()).params)
    for either in (running, plain):
        either.advance(2 / 3)
    moved = flat(next(plain.trained()).params) - flat(next(running.trained()).params)
    # the weights hardly move in two steps of rate 1e-9, so velocities add up: v1 + (0.5 v1 + v2), v = sigma n + 0.2 w
    added = [ALPHA**0.5 / (1 + t) ** (GAMMA / 2) * drawn(0, t, len(start)) + 0.2 * start for t in range(2)]
    torch.testing.assert_close(moved / 1e-9, 1.5 * added[0] + added[1], rtol=1e-5, atol=1e-5)


def test_no_variance_is_neutral_whatever_the_decay():
    assert GradientNoise(gamma=3.0).is_neutral()
    assert not GradientNoise(alpha=1e-12, gamma=0.0).is_neutral()
    assert trial(GradientNoise(gamma=3.0)).active == []

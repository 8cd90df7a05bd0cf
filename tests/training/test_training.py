"""Training against an ordinary PyTorch loop: how far a call goes, divergence, interruptions, budgets."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.training.hooked import Averaged, Hooked
from tests.training.ordinary import WAYS, assert_same, ordinary
from tests.trainings import ALL, STEADY, Blobs, flat, history, same_bits, training, trajectory, trial
from tune_lb.budgets import Epochs, GradientEvaluations, Updates
from tune_lb.data.dataset import DataSet, DataSource, Part
from tune_lb.losses import cross_entropy
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD, Adam
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant, Cosine
from tune_lb.streams import generator
from tune_lb.training.evaluation import quality, recalibrated


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_the_ordinary_loop(way, nesterov):
    of = trial(optimizer=SGD(momentum=0.8, weight_decay=0.01, nesterov=nesterov), batch_size=7, budget=Epochs(3.0))
    rates = [0.1 * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]
    running = training(of, (0, 4), way)
    rows = history(running)
    for member in running.trained():
        module, losses = ordinary(
            of,
            member.seed,
            10,
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, weight_decay=0.01, nesterov=nesterov),
            rates=rates,
        )
        assert_same(member, module)
        seen = [row.value for row in rows if row.seed == member.seed and row.name == "running_train_loss"]
        assert seen == pytest.approx([sum(losses[a:b]) / (b - a) for a, b in [(0, 3), (3, 6), (6, 10)]], rel=1e-12)


def test_adam_is_the_ordinary_loop():
    of = trial(optimizer=Adam(weight_decay=0.01), schedule=Constant(), lr=0.01)
    running = training(of, (0, 4), "together")
    history(running)
    for member in running.trained():
        module, _ = ordinary(of, member.seed, 6, lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01))
        assert_same(member, module, 1e-9)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_how_far_one_call_goes_does_not_matter(way, dtype):
    def trained(epochs):
        running = training(trial(*STEADY), (0, 1), way, dtype)
        rows = history(running, epochs)
        steps = sorted({row.step for row in rows})
        return steps, {member.seed: flat(member.params | member.buffers) for member in running.trained()}

    steps, whole = trained(2.0)
    assert steps == [6]
    for epochs, expected in [(1.0, [3, 6]), (0.5, [1, 3, 4, 6]), (2 / 3, [2, 4, 6]), (1e-9, [1, 2, 3, 4, 5, 6])]:
        steps, found = trained(epochs)
        assert steps == expected
        assert same_bits(found, whole)


@dataclass(frozen=True)
class Explosive(Hooked):
    """Makes the gradient infinite when a draw says so."""

    name: ClassVar[str] = "explosive"

    def draws(self, generator, batch_size, num_parameters, like):
        return torch.rand(1, generator=generator, dtype=like.dtype)

    def gradient(self, inner):
        def explosive(params, buffers, batch):
            loss, gradients, updated = inner(params, buffers, batch)
            factor = torch.where(batch.draws["explosive"] > self.size, torch.inf, 1.0)
            return loss, {name: g * factor for name, g in gradients.items()}, updated

        return explosive


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("epochs", [1e-9, 2.0])
def test_a_diverged_member_is_marked_and_the_others_go_on(way, epochs):
    seeds = tuple(range(6))
    expected = {}
    for seed in seeds:
        draws = [
            torch.rand(1, generator=generator("", seed, "explosive", step), dtype=torch.float64) for step in range(5)
        ]
        exploded = [step for step, draw in enumerate(draws) if draw > 0.9]
        # the weights are infinite after that step, the loss in the next
        expected[seed] = exploded[0] + 1 if exploded else None
    assert len(set(expected.values())) > 2
    running, plain = training(trial(Explosive(0.9)), seeds, way), training(trial(), seeds)
    rows = history(running, epochs)
    history(plain)
    for member, untouched in zip(running.trained(), plain.trained(), strict=True):
        assert member.diverged_at_step == expected[member.seed]
        if member.diverged_at_step is None:
            torch.testing.assert_close(flat(member.params), flat(untouched.params), rtol=1e-9, atol=1e-12)
    assert all(math.isfinite(row.value) for row in rows)
    assert {row.seed for row in running.evaluate()} == {seed for seed in seeds if expected[seed] is None}


def test_a_huge_rate_diverges_where_the_ordinary_loop_does():
    of = trial(model=MLP(hidden=(6,), batch_norm=False), schedule=Constant(), lr=1e60, budget=Epochs(20.0))
    running = training(of)
    history(running)
    _, losses = ordinary(
        of, 0, running.plan.num_updates, lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9, weight_decay=1e-3)
    )
    first = next(step for step, loss in enumerate(losses) if not math.isfinite(loss))
    assert next(running.trained()).diverged_at_step == first > 0
    assert running.done


def partly_frozen(input_shape, num_classes):
    """Return a network with a frozen layer and a parameter that the loss does not depend on."""
    network = nn.Sequential(nn.Linear(*input_shape, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, num_classes))
    network[0].weight.requires_grad_(False)
    network.register_parameter("unused", nn.Parameter(torch.ones(3)))
    return network


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("remedies", [[], ALL], ids=["plain", "all"])
def test_frozen_and_unused_parameters(way, remedies):
    of = trial(*remedies, model=partly_frozen, optimizer=SGD(weight_decay=0.0))
    running = training(of, (0, 1), way)
    before = list(running.trained())
    history(running)
    for start, end in zip(before, running.trained(), strict=True):
        assert torch.equal(start.params["0.weight"], end.params["0.weight"])
        assert not torch.equal(start.params["1.bias"], end.params["1.bias"])
        # noise moves every parameter, a gradient only those that the loss depends on
        assert torch.equal(end.params["unused"], torch.ones(3).double()) == (not remedies)
        assert end.buffers.keys() == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_members_differ_by_seed_and_arms_by_their_salt():
    start = {seed: flat(member.params) for seed in (0, 1) for member in training(trial(), (seed,)).trained()}
    placebo = flat(next(training(trial(draws="placebo")).trained()).params)
    assert not torch.equal(start[0], start[1])
    assert not torch.equal(start[0], placebo)
    # the same seed is the same start whatever the batch and the rate, so that arms pair
    assert torch.equal(start[0], flat(next(training(trial(batch_size=24, lr=1.0)).trained()).params))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", [SGD(momentum=0.0), SGD(), Adam()], ids=str)
def test_a_restored_training_goes_on_to_the_last_bit(way, optimizer):
    of = trial(Averaged(), SAM(rho=0.1), optimizer=optimizer)
    whole, first = training(of, (0, 1), way), training(of, (0, 1), way)
    history(whole)
    first.advance(1.0)
    saved = first.checkpoint()
    copies = {name: value.clone() for name, value in saved.items()}
    for _ in range(2):
        second = training(of, (0, 1), way)
        second.restore(saved)
        assert second.step == 3
        history(second)
        for a, b in zip(whole.trained(), second.trained(), strict=True):
            assert torch.equal(flat(a.params | a.buffers), flat(b.params | b.buffers))
    assert all(torch.equal(saved[name], copies[name]) for name in saved)


def test_evaluation_between_steps_changes_nothing_and_says_what_is_true():
    of = trial(*STEADY)
    running = training(of, (0, 1))
    rows = []
    while not running.done:
        running.advance(1.0)
        rows += running.evaluate()
    undisturbed = training(of, (0, 1))
    history(undisturbed)
    for a, b in zip(running.trained(), undisturbed.trained(), strict=True):
        assert torch.equal(flat(a.params | a.buffers), flat(b.params | b.buffers))
    member = next(running.trained())
    buffers = recalibrated(running.evaluation_module, member.params, member.buffers, running.parts.train)
    found = quality(running.evaluation_module, member.params, buffers, cross_entropy, running.parts.validation)
    last = {row.name: row.value for row in rows if (row.seed, row.step) == (0, 6)}
    clean = {"train_loss", "train_error", "validation_loss", "validation_error"}
    assert last.keys() == {name + mark for name in clean for mark in ("", "@last", "@ema_0.1", "@ema_2")}
    assert (last["validation_loss"], last["validation_error"]) == (found.loss, found.error)


@pytest.mark.parametrize(
    ("budget", "batch_size", "remedies", "updates"),
    [
        (Epochs(2.0), 7, [], 6),
        (Epochs(0.1), 24, [], 1),
        (Epochs(0.3), 2, [], 3),
        (Updates(5), 24, [], 5),
        (GradientEvaluations(9), 8, [], 9),
        (GradientEvaluations(9), 8, [SAM(rho=0.1)], 4),
    ],
    ids=str,
)
def test_budgets(budget, batch_size, remedies, updates):
    plan = trial(*remedies, budget=budget, batch_size=batch_size).plan(24)
    assert plan.num_updates == updates
    assert plan.num_examples == updates * batch_size
    assert plan.gradient_evaluations == updates * (2 if remedies else 1)
    assert all(b - a == batch_size for a, b in pairwise(plan.boundaries))


def test_schedules():
    rate = trial(schedule=Cosine(final=0.2), lr=3.0).rate(trial().plan(24))
    found = [rate(trial().plan(24).position(step)) for step in range(6)]
    expected = [3.0 * (0.2 + 0.8 * math.cos(math.pi * step / 12) ** 2) for step in range(6)]
    assert found == pytest.approx(expected, rel=1e-14)


def test_one_batch_is_enough():
    of = replace(trial(batch_size=24), budget=Epochs(1.0), data=Blobs(num_train=24))
    assert trajectory(of)[0].shape[0] == 1


class LeNet(nn.Module):
    """The line of most networks: x.view after a convolution, which wants its input contiguous."""

    def __init__(self, shape, classes):
        super().__init__()
        self.conv, self.last = nn.Conv2d(shape[0], 4, 3), nn.Linear(4 * (shape[1] - 2) * (shape[2] - 2), classes)

    def forward(self, x):
        x = F.relu(self.conv(x))
        return self.last(x.view(x.size(0), -1))


@dataclass(frozen=True)
class Pictures(DataSource):
    def load(self, split_seed):
        rng = np.random.default_rng(0)
        return DataSet("pictures", 3, *[Part(rng.normal(size=(24, 2, 6, 6)).astype(np.float32), np.arange(24) % 3)] * 3)


@pytest.mark.parametrize("execution", ["alone", "together", "plain"])
def test_a_network_that_views_what_a_convolution_gives_is_trained(execution):
    running = training(trial(model=LeNet, data=Pictures()), (0,), execution)
    network = running.networks.of_seed(0).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    for step in range(running.plan.num_updates):
        batch = running.batches.batch(0, step)
        optimizer.param_groups[0]["lr"] = running.rate(running.plan.position(step))
        optimizer.zero_grad()
        F.cross_entropy(network(batch.inputs), batch.targets).backward()
        optimizer.step()
    while not running.done:
        running.advance()
    (member,) = running.trained()
    for name, value in network.named_parameters():
        torch.testing.assert_close(member.params[name], value.detach(), rtol=1e-9, atol=1e-12)

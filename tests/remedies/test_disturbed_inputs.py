"""Adversarial and stability training against closed forms and explicit loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trainings import batch, flat, refusals, training, trial
from tune_lb.losses import cross_entropy
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.adversarial import Adversarial
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.stability import Stability
from tune_lb.schedules import Constant
from tune_lb.training.gradient import by_autograd, by_functorch, mean_gradient, on_targets

WAYS = ["alone", "together"]


def squared(outputs, targets):
    return (outputs[:, 0] - targets).square() / 2


@pytest.mark.parametrize("differentiate", [by_autograd, by_functorch])
@pytest.mark.parametrize(("eps", "share"), [(0.3, 0.5), (0.05, 0.0), (2.0, 0.9)])
def test_the_worst_residual_of_a_linear_model(differentiate, eps, share):
    draws = torch.Generator().manual_seed(0)
    x, y, w = (torch.randn(*shape, generator=draws).double() for shape in ((9, 4), (9,), (1, 4)))
    remedy = Adversarial(eps=eps, clean_share=share)
    module = remedy.model(nn.Linear(4, 1, bias=False).double())
    gradient = remedy.gradient(mean_gradient(module, on_targets(squared), differentiate))
    loss, found, _ = gradient({"weight": w}, {}, batch(x, y, remedy.values()))
    residual = x @ w[0] - y
    # the residual grows by eps |w|_1, whatever its sign
    worst = residual.sign() * (residual.abs() + eps * w.abs().sum())
    moved = x + eps * residual.sign()[:, None] * w.sign()
    expected = share * residual @ x / 9 + (1 - share) * worst @ moved / 9
    torch.testing.assert_close(found["weight"][0], expected, rtol=1e-12, atol=1e-13)
    assert found.keys() == {"weight"}
    assert loss.item() == pytest.approx((residual.square().mean() / 2).item(), rel=1e-13)


def network(of, member):
    module = of.model((5,), 3).double().train()
    module.load_state_dict(member.params | member.buffers)
    return module


def one_step(remedies, way):
    """The trial, its training after one update, and by member the start and the batch of it."""
    of = trial(*remedies, optimizer=SGD(momentum=0.0), schedule=Constant(), batch_size=24)
    running = training(of, (0, 4), way)
    starts = list(running.trained())
    batches = [running.batches.batch(start.seed, 0) for start in starts]
    running.advance(1e-9)
    return of, zip(starts, batches, running.trained(), strict=True)


def assert_stepped(start, end, module, gradients):
    for (name, _), gradient in zip(module.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(end.params[name], start.params[name] - 0.1 * gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_an_adversarial_step_is_the_explicit_one(way):
    of, members = one_step([Adversarial(eps=0.2, clean_share=0.3)], way)
    for start, step, end in members:
        module = network(of, start)
        weights = list(module.parameters())
        inputs = step.inputs.clone().requires_grad_()
        loss = F.cross_entropy(module(inputs), step.targets)
        *clean, slope = torch.autograd.grad(loss, [*weights, inputs])
        statistics = flat(dict(module.named_buffers()))
        attack = step.inputs + 0.2 * slope.sign()
        worst = torch.autograd.grad(F.cross_entropy(module(attack), step.targets), weights)
        assert_stepped(start, end, module, [0.3 * a + 0.7 * b for a, b in zip(clean, worst, strict=True)])
        torch.testing.assert_close(flat(end.buffers), statistics, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ghost", [(), (GhostBatchNorm(ghost_batch_size=6),)], ids=["plain", "ghost"])
def test_a_stability_step_is_the_explicit_one(way, ghost):
    of, members = one_step([Stability(alpha=0.6, sigma=0.5), *ghost], way)
    for start, step, end in members:
        module = network(of, start)
        module = ghost[0].model(module) if ghost else module
        first = module(step.inputs)
        statistics = flat(dict(module.named_buffers()))
        second = module(step.inputs + 0.5 * step.draws["stability"])
        logp, logq = first - first.logsumexp(-1, keepdim=True), second - second.logsumexp(-1, keepdim=True)
        loss = -logp[torch.arange(24), step.targets].mean() - 0.6 * (logp.exp() * logq).sum() / 24
        assert_stepped(start, end, module, torch.autograd.grad(loss, list(module.parameters())))
        torch.testing.assert_close(flat(end.buffers), statistics, rtol=1e-9, atol=1e-12)


def test_the_disturbance_is_white_and_new_in_every_step():
    batches = training(trial(Stability(alpha=1.0)), (0,)).batches
    drawn = torch.stack([batches.batch(0, step).draws["stability"] for step in range(6)])
    assert drawn.shape == (6, 8, 5)
    assert drawn.mean().abs() < 4 / 240**0.5
    assert drawn.var().item() == pytest.approx(1.0, abs=0.3)
    assert len(set(drawn.flatten().tolist())) == 240


def test_pieces_keep_the_pairs_together():
    remedy = Stability(alpha=0.6, sigma=0.5)
    module = remedy.model(nn.Linear(5, 3).double())
    inputs, targets = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)).double(), torch.arange(8) % 3
    step = batch(inputs, targets, remedy.values() | {"sam.rho": 0.1}, {"stability": torch.ones(8, 5).double()})
    gradient = mean_gradient(module, remedy.loss(on_targets(cross_entropy)), by_autograd)
    changed = remedy.batch(lambda unchanged: unchanged)(step)
    params = dict(module.named_parameters())
    pieces = [gradient(params, {}, changed.piece(j, 4))[1] for j in range(4)]
    whole = gradient(params, {}, changed)[1]
    mean = sum(flat(piece) for piece in pieces) / 4
    torch.testing.assert_close(mean, flat(whole), rtol=1e-12, atol=1e-13)
    assert refusals(remedy, SAM(rho=0.1, m=4)) == []


def test_without_disturbance_the_term_is_the_entropy():
    remedy = Stability(alpha=2.0, sigma=0.0)
    outputs = 2 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    step = batch(outputs, torch.arange(4) % 3, remedy.values())
    found = remedy.loss(on_targets(cross_entropy))(torch.stack([outputs, outputs], 1), step)
    entropy = torch.distributions.Categorical(logits=outputs).entropy()
    expected = F.cross_entropy(outputs, step.targets, reduction="none") + 2 * entropy
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("remedies", "words"),
    [
        ([Adversarial(eps=0.1), SAM(rho=0.1)], ["adversarial and sam", "where the gradient is taken"]),
        ([Adversarial(eps=0.1), Stability(alpha=0.1)], ["adversarial and stability", "second input"]),
        ([Adversarial(eps=-0.1)], ["adversarial.eps = -0.1", "at least 0"]),
    ],
    ids=str,
)
def test_what_is_not_defined_is_refused(remedies, words):
    found = refusals(*remedies)
    assert len(found) == 1
    assert all(word in found[0] for word in words), found


def test_the_passes_are_counted():
    for remedy in (Adversarial(eps=0.1), Stability(alpha=0.1)):
        assert trial(remedy).plan(24).gradient_evaluations == 12

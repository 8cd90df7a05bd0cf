"""SAM against its closed form on quadratics, and m-SAM against the explicit loop."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trainings import batch, flat, stacked_batch, training, trial
from tune_lb.losses import cross_entropy
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant
from tune_lb.training.gradient import by_autograd, by_functorch, mean_gradient, on_targets, over_members, stack

RHO = 0.37


class Quadratic(nn.Module):
    """Gives each example the loss w^T A w / 2 + (its input)^T w: the mean gradient is A w + mean input."""

    def __init__(self, A):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(2, 2).double()), nn.Parameter(torch.zeros(3).double())
        self.register_buffer("A", A)

    def forward(self, inputs):
        w = torch.cat([self.first.flatten(), self.second])
        return w @ self.A @ w / 2 + inputs @ w


def quadratic(seed=0):
    draws = torch.Generator().manual_seed(seed)
    half = torch.randn(7, 7, generator=draws).double()
    return half @ half.T, torch.randn(7, generator=draws).double(), torch.randn(6, 7, generator=draws).double()


def params(w):
    return {"first": w[:4].view(2, 2), "second": w[4:]}


def sam(module, m=None, differentiate=by_autograd):
    return SAM(rho=RHO, m=m).gradient(mean_gradient(module, lambda outputs, targets: outputs, differentiate))


def step(inputs, rho=RHO):
    return batch(inputs, torch.zeros(len(inputs)), {"sam.rho": rho})


def test_closed_form_on_a_quadratic():
    A, w, _ = quadratic()
    loss, gradients, _ = sam(Quadratic(A))(params(w), {"A": A}, step(torch.zeros(6, 7).double()))
    expected = A @ (w + RHO * A @ w / (A @ w).norm())
    torch.testing.assert_close(flat(gradients), expected, rtol=1e-12, atol=1e-12)
    assert loss.item() == pytest.approx((w @ A @ w / 2).item(), rel=1e-14)


@pytest.mark.parametrize("rho", [0.1, 1e6])
def test_a_zero_gradient_perturbs_nothing(rho):
    A, w, _ = quadratic()
    _, gradients, _ = sam(Quadratic(A))(params(0 * w), {"A": A}, step(torch.zeros(6, 7).double(), rho))
    assert torch.equal(flat(gradients), torch.zeros(7).double())


@pytest.mark.parametrize("size", [1e-18, 1e-22, 1e-30])
def test_a_vanishing_gradient_perturbs_by_no_more_than_the_radius(size):
    # in float32 squares below 1e-38 vanish: the norm of such a gradient is 0, the gradient is not
    A, w, _ = quadratic()
    module = Quadratic(A).float()
    tiny = step((size * torch.ones(6, 7)).float(), 0.5)
    found = {name: value.float() for name, value in params(0 * w).items()}
    _, gradients, _ = sam(module)(found, {"A": A.float()}, tiny)
    largest = torch.linalg.eigvalsh(A)[-1].item()
    assert flat(gradients).norm().item() <= 0.5 * largest * (1 + 1e-5)


@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_m_sam_is_the_loop_over_pieces(m):
    A, w, inputs = quadratic()
    loss, gradients, _ = sam(Quadratic(A), m)(params(w), {"A": A}, step(inputs))
    expected = torch.zeros(7).double()
    for j in range(6 // m):
        gradient = A @ w + inputs[j :: 6 // m].mean(0)
        expected += (A @ (w + RHO * gradient / gradient.norm()) + inputs[j :: 6 // m].mean(0)) / (6 // m)
    torch.testing.assert_close(flat(gradients), expected, rtol=1e-12, atol=1e-12)
    assert loss.item() == pytest.approx((w @ A @ w / 2 + (inputs @ w).mean()).item(), rel=1e-13)


def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()
    return module, dict(module.named_parameters()), dict(module.named_buffers())


def data():
    draws = torch.Generator().manual_seed(1)
    return torch.randn(8, 4, generator=draws).double(), torch.randint(3, (8,), generator=draws)


def test_statistics_and_loss_are_those_of_one_plain_pass():
    module, weights, buffers = network()
    inputs, targets = data()
    gradient = SAM(rho=RHO).gradient(mean_gradient(module, on_targets(cross_entropy), by_autograd))
    loss, _, updated = gradient(weights, buffers, batch(inputs, targets, {"sam.rho": RHO}))
    assert all(torch.equal(buffers[name], value) for name, value in module.named_buffers())
    plain = F.cross_entropy(module(inputs), targets)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-15)
    for name, value in module.named_buffers():
        assert torch.equal(updated[name], value), name


def test_m_as_large_as_the_batch_is_sam():
    inputs, targets = data()
    results = []
    for m in (None, 8):
        module, weights, buffers = network()
        gradient = SAM(rho=RHO, m=m).gradient(mean_gradient(module, on_targets(cross_entropy), by_autograd))
        loss, gradients, updated = gradient(weights, buffers, batch(inputs, targets, {"sam.rho": RHO}))
        results.append(torch.cat([loss[None], flat(gradients), flat(updated)]))
    torch.testing.assert_close(*results, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("vectorize", [True, False])
def test_every_member_has_its_own_norm(vectorize):
    A, _, inputs = quadratic()
    members = [torch.randn(7, generator=torch.Generator().manual_seed(i)).double() * 10.0**i for i in range(3)]
    members = members if vectorize else members[:1]
    gradient = sam(Quadratic(A), differentiate=by_functorch if vectorize else by_autograd)
    batches = [step(inputs[i : i + 2]) for i in range(len(members))]
    together = over_members(gradient, vectorize=vectorize)
    _, found, _ = together(
        stack([params(w) for w in members]), stack([{"A": A}] * len(members)), stacked_batch(batches)
    )
    for i, w in enumerate(members):
        mean = inputs[i : i + 2].mean(0)
        expected = A @ (w + RHO * (A @ w + mean) / (A @ w + mean).norm()) + mean
        torch.testing.assert_close(flat({k: v[i] for k, v in found.items()}), expected, rtol=1e-11, atol=1e-11)


def test_weight_decay_stays_outside_the_perturbation():
    plain, decayed = (
        training(trial(SAM(rho=RHO), optimizer=SGD(momentum=0.0, weight_decay=decay), schedule=Constant()))
        for decay in (0.0, 0.5)
    )
    start = flat(next(plain.trained()).params)
    for running in (plain, decayed):
        running.advance(1e-9)
    moved = flat(next(plain.trained()).params) - flat(next(decayed.trained()).params)
    torch.testing.assert_close(moved, 0.1 * 0.5 * start, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("remedy", "words"),
    [
        (SAM(rho=0.1, m=3), ["sam.m = 3", "batch_size = 8", "1, 2, 4, 8"]),
        (SAM(rho=0.1, m=1), ["sam.m = 1", "two examples"]),
    ],
)
def test_what_cannot_be_done_is_refused(remedy, words):
    module, _, _ = network()
    (line,) = remedy.conflicts(trial(remedy), 24, module)
    assert all(word in line for word in words)
    assert remedy.conflicts(trial(remedy, batch_size=9), 24, nn.Linear(1, 1)) == []
    assert SAM(rho=0.0, m=3).conflicts(trial(), 24, module) == []


def test_the_radius_is_searched_as_a_tensor():
    found = SAM(rho=0.25, m=4, p=3.0).values()
    assert found == {"sam.rho": 0.25, "sam.m": 4.0, "sam.p": 3.0, "sam.eta": 0.01, "sam.every": 1.0}
    assert SimpleNamespace(**SAM.__dataclass_fields__).rho.metadata["low"] == 0.0
    (line,) = SAM(rho=-0.1).problems("arm 'a': sam")
    assert line == "arm 'a': sam.rho = -0.1: must be at least 0"

"""Batch norm as it is measured, checked against torch's own functions."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import update_bn

from tests.metrics.cases import cross_entropy, surface
from tune_lb.data.device import Examples
from tune_lb.errors import RequestError
from tune_lb.metrics.measuring import measure
from tune_lb.observation.surfaces import surface_over
from tune_lb.surface.evaluation_mode import recalibrated
from tune_lb.training.evaluation import quality


class UsedTwice(nn.Module):
    """One batch norm in two places of the forward pass, where its inputs differ."""

    def __init__(self, shift=2.0):
        super().__init__()
        self.norm, self.head, self.shift = nn.BatchNorm1d(4), nn.Linear(4, 3), shift

    def forward(self, x):
        return self.head(self.norm(self.norm(x).tanh() * 3 + self.shift))


class InTwoPlaces(nn.Module):
    """The same layer as two children."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm1d(4)
        self.second, self.head = self.first, nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.second(self.first(x).sigmoid()))


def plain():
    return nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
    )


def data(num=40):
    draws = torch.Generator().manual_seed(0)
    return torch.randn(num, 4, generator=draws) * 2 + 1, torch.randint(3, (num,), generator=draws)


@pytest.mark.parametrize("kind", [UsedTwice, InTwoPlaces, plain])
@pytest.mark.parametrize("num_chunks", [1, 4])
def test_recalibrated_statistics_are_those_of_update_bn(kind, num_chunks):
    """A6: running_mean was that of the last use, where update_bn gives the mean over both."""
    torch.manual_seed(0)
    net, chunks = kind(), data()[0].chunk(num_chunks)
    found = recalibrated(net, dict(net.named_parameters()), dict(net.named_buffers()), chunks)
    update_bn(chunks, net.train())
    for name, value in net.named_buffers():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(found[name], value)
    assert not any(part._forward_pre_hooks for part in net.modules())


def test_the_mean_over_two_uses_by_hand():
    net, (inputs, _) = UsedTwice(), data()
    found = recalibrated(net, dict(net.named_parameters()), dict(net.named_buffers()), [inputs])["norm.running_mean"]
    once = F.batch_norm(inputs, None, None, training=True)
    second = once.tanh() * 3 + 2
    torch.testing.assert_close(found, (inputs.mean(0) + second.mean(0)) / 2)


@pytest.mark.parametrize("mixed", [False, True])
def test_batch_norm_without_running_statistics_is_measured_as_it_evaluates(mixed):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Tanh(), nn.Linear(5, 3))
    if mixed:
        net.append(nn.BatchNorm1d(3))
    (inputs, targets), net = data(), net.eval()
    row = measure(net, F.cross_entropy, inputs, targets, "lambda_max(tolerance=1e-6)")
    with torch.no_grad():
        assert row["lambda_max.loss"] == pytest.approx(float(F.cross_entropy(net(inputs), targets)), rel=1e-6)
    assert row["lambda_max.batch_norm"] == ("running+batch" if mixed else "batch")
    assert row["lambda_max"] > 0
    names = dict(net.named_parameters())
    flat = torch.cat([p.detach().reshape(-1) for p in names.values()]).double()
    sizes = [p.numel() for p in names.values()]
    buffers = {name: value.double() if value.is_floating_point() else value for name, value in net.named_buffers()}

    def loss(point):
        own = {name: part.view(p.shape) for part, (name, p) in zip(point.split(sizes), names.items(), strict=True)}
        return F.cross_entropy(torch.func.functional_call(net, own | buffers, (inputs.double(),)), targets)

    hessian = torch.func.jacrev(torch.func.grad(loss))(flat)
    assert row["lambda_max"] == pytest.approx(float(torch.linalg.eigvalsh(hessian.detach())[-1]), rel=1e-4)


class Noisy(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        if self.kind == "functional":
            return F.dropout(x, 0.5)
        noise = {"torch": lambda: float(torch.rand(())), "numpy": np.random.random, "python": random.random}[
            self.kind
        ]()
        return x * (1 + noise)


@pytest.mark.parametrize("kind", ["functional", "torch", "numpy", "python"])
def test_what_is_random_in_evaluation_is_named_and_the_generators_are_put_back(kind):
    net = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.ReLU(), Noisy(kind)), nn.Linear(5, 3))
    inputs, targets = data()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    with pytest.raises(
        RequestError, match=r"nothing can be measured: 1\.1 \(Noisy\): the module draws random numbers in eval"
    ):
        measure(net, F.cross_entropy, inputs, targets)
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1], states[2]) == (np.random.get_state()[1].tolist(), random.getstate())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


class WritesIntoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        x -= 1.0
        x.div_(2.0)
        return self.layer(x)


@pytest.mark.parametrize("chunk", [None, 7])
def test_a_network_that_writes_into_its_inputs_leaves_the_caller_s_tensor_and_is_measured_right(chunk):
    """A17: the loss was 0.337 in place of 0.459, and the tensor another one."""
    torch.manual_seed(0)
    net, (inputs, targets) = WritesIntoInputs(), data()
    before = inputs.clone()
    row = measure(net, F.cross_entropy, inputs, targets, ["lambda_max", "keskar(p=5)"], chunk=chunk)
    assert torch.equal(inputs, before)
    right = float(F.cross_entropy(net.layer((before - 1) / 2), targets).detach())
    assert row["lambda_max.loss"] == row["keskar.loss"] == pytest.approx(right, rel=1e-6)
    f = surface(net, inputs, targets, loss=cross_entropy, chunk=chunk)
    assert f.value() == f.value(f.point) == pytest.approx(right, rel=1e-6)


def test_evaluation_leaves_the_data_as_they_are():
    net, (inputs, targets) = WritesIntoInputs(), data()
    part, before = Examples(inputs, targets, 0.0, 1.0), inputs.clone()
    params, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    first, second = (quality(net, params, buffers, cross_entropy, part).loss for _ in range(2))
    assert first == second
    assert torch.equal(part.inputs, before)
    with surface_over(net, (params, buffers), cross_entropy, part) as f:
        assert f.value() == f.value(f.point) == pytest.approx(first, rel=1e-6)
    assert torch.equal(part.inputs, before)

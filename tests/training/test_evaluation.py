"""Evaluation: batch-norm statistics recomputed over the clean train set, losses and errors of a part."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tune_lb.surface.evaluation_mode
from tune_lb.data.device import Examples
from tune_lb.losses import cross_entropy
from tune_lb.testing.side_effects import assert_leaves_no_trace
from tune_lb.training.evaluation import quality, recalibrated


def network(*layers):
    """Return a network whose running statistics are stale."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), *layers, nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
    ).double()
    for part in net:
        if isinstance(part, nn.BatchNorm1d):
            nn.init.uniform_(part.running_mean, 5, 6)
            nn.init.uniform_(part.running_var, 5, 6)
    return net.eval()


def examples(num=60):
    draws = torch.Generator().manual_seed(1)
    inputs = torch.randint(0, 256, (num, 4), generator=draws, dtype=torch.uint8)
    return Examples(inputs, torch.randint(3, (num,), generator=draws), offset=100.0, scale=50.0)


def state(net):
    return dict(net.named_parameters()), dict(net.named_buffers())


def by_hand(net, x):
    """Return the statistics of both batch norms over all examples at once."""
    h = F.linear(x, net[0].weight, net[0].bias)
    found = [h.mean(0), h.var(0, unbiased=True)]
    h = (h - h.mean(0)) / torch.sqrt(h.var(0, unbiased=False) + 1e-5) * net[1].weight + net[1].bias
    h = F.linear(F.relu(h), net[-3].weight, net[-3].bias)
    return [*found, h.mean(0), h.var(0, unbiased=True)]


NAMES = ["1.running_mean", "1.running_var", "4.running_mean", "4.running_var"]


def test_one_chunk_gets_the_exact_statistics():
    net, train = network(), examples()
    found = recalibrated(net, *state(net), train)
    expected = by_hand(net, (train.inputs.double() - 100) / 50)
    for name, value in zip(NAMES, expected, strict=True):
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6)


def test_chunks_weigh_every_example_the_same(monkeypatch):
    net, train = network(), examples(61)
    exact = recalibrated(net, *state(net), train)
    monkeypatch.setattr(tune_lb.surface.evaluation_mode, "MAX_CHUNK_ELEMENTS", 4 * 21)
    found = recalibrated(net, *state(net), train)
    # the first layer's mean is linear in the examples: chunks of 20, 20 and 21 give it exactly
    torch.testing.assert_close(found["1.running_mean"], exact["1.running_mean"], rtol=1e-12, atol=1e-12)
    h = F.linear((train.inputs.double() - 100) / 50, net[0].weight, net[0].bias)
    chunks = [(h[a:b].var(0, unbiased=True), b - a) for a, b in [(0, 20), (20, 40), (40, 61)]]
    expected = sum(variance * size for variance, size in chunks) / 61
    torch.testing.assert_close(found["1.running_var"], expected, rtol=1e-6, atol=1e-6)
    for name in NAMES:
        torch.testing.assert_close(found[name], exact[name], rtol=0.15, atol=0.15)


def test_dropout_is_off_and_nothing_is_left_behind():
    net, train = network(nn.Dropout(0.5)), examples()
    found = assert_leaves_no_trace(lambda: recalibrated(net, *state(net), train), net)
    torch.testing.assert_close(
        torch.stack([found["1.running_mean"], found["1.running_var"]]),
        torch.stack(by_hand(net, (train.inputs.double() - 100) / 50)[:2]),
        rtol=1e-6,
        atol=1e-6,
    )
    net.train()
    given = state(net)
    first, second = (assert_leaves_no_trace(lambda: quality(net, *given, cross_entropy, train), net) for _ in range(2))
    assert first.loss == second.loss


@pytest.mark.parametrize(
    "net", [nn.Linear(4, 3), nn.BatchNorm1d(4, track_running_stats=False)], ids=["none", "no statistics"]
)
def test_a_network_without_statistics_keeps_its_buffers(net):
    buffers = {"anything": torch.ones(2)}
    assert recalibrated(net, dict(net.named_parameters()), buffers, examples()) is buffers


def test_quality_is_the_mean_loss_and_the_share_of_mistakes(monkeypatch):
    net, part = network(), examples(61)
    outputs = net((part.inputs.double() - 100) / 50)
    wrong = int((outputs.argmax(1) != part.targets).sum())
    for limit in (2**21, 4 * 13):
        monkeypatch.setattr(tune_lb.surface.evaluation_mode, "MAX_CHUNK_ELEMENTS", limit)
        found = quality(net, *state(net), cross_entropy, part)
        assert found.loss == pytest.approx(F.cross_entropy(outputs, part.targets).item(), rel=1e-6)
        assert found.error == wrong / 61
        assert torch.equal(found.predictions, outputs.argmax(1))

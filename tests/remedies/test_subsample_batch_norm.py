"""Batch norm from the first examples against the formula in plain tensors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.remedies.test_ghost_batch_norm import SHAPES, inputs, norm
from tests.trainings import flat, training, trial
from tune_lb.models.mlp import MLP
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.subsample_batch_norm import SubsampleBatchNorm


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("options", [{}, {"momentum": 0.3, "affine": False}, {"track_running_stats": False}], ids=str)
def test_the_first_examples_normalise_all(shape, options):
    layer, (x, weights) = norm(shape, **options), inputs(shape)
    twin = SubsampleBatchNorm(num_examples=5).model(copy.deepcopy(layer))
    y = twin(x)
    axes = [0, *range(2, len(shape))]
    mean, var = x[:5].mean(axes, keepdim=True), x[:5].var(axes, correction=0, keepdim=True)
    scale, shift = (
        (1.0, 0.0)
        if layer.weight is None
        else (layer.weight.view(1, -1, *[1] * (len(shape) - 2)), layer.bias.view(1, -1, *[1] * (len(shape) - 2)))
    )
    expected = (x - mean) / (var + layer.eps).sqrt() * scale + shift
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    own, theirs = (torch.autograd.grad((out * weights).sum(), x, retain_graph=True)[0] for out in (y, expected))
    torch.testing.assert_close(own, theirs, rtol=1e-10, atol=1e-12)
    # torch's own update from the first examples alone
    layer(x[:5])
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(value, layer.state_dict()[name], rtol=1e-12, atol=1e-12, msg=name)


def test_all_examples_are_batch_norm():
    found = []
    for remedies in ([], [SubsampleBatchNorm(num_examples=8)]):
        running = training(trial(*remedies))
        running.advance(2.0)
        found.append(next(running.trained()))
    torch.testing.assert_close(flat(found[0].params), flat(found[1].params), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(flat(found[0].buffers), flat(found[1].buffers), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_evaluation_is_that_of_batch_norm(shape):
    layer, (x, _) = norm(shape), inputs(shape)
    twin = SubsampleBatchNorm(num_examples=3).model(copy.deepcopy(layer))
    assert torch.equal(twin.eval()(x), layer.eval()(x))


@pytest.mark.parametrize(
    ("size", "others", "model", "words"),
    [
        (9, [], MLP(), ["num_examples = 9", "batch_size = 8"]),
        (4, [SAM(rho=0.1, m=2)], MLP(), ["num_examples = 4", "sam.m = 2"]),
        (1, [], MLP(), ["num_examples = 1", "no variance"]),
        (4, [], MLP(batch_norm=False), ["no batch normalization"]),
        (4, [GhostBatchNorm(ghost_batch_size=4)], MLP(), ["ghost_batch_norm", "give one of them"]),
        (8, [SAM(rho=0.1)], MLP(), []),
        (None, [], MLP(batch_norm=False), []),
    ],
)
def test_what_cannot_be_done_is_refused(size, others, model, words):
    remedy = SubsampleBatchNorm(num_examples=size)
    of = trial(remedy, *others)
    lines = of.problems() + remedy.conflicts(of, 24, model((5,), 3))
    assert len(lines) == bool(words)
    assert all(word in lines[0] for word in words)


def test_layers_without_such_a_form_are_refused():
    module = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.BatchNorm2d(2, momentum=None))
    remedy = SubsampleBatchNorm(num_examples=4)
    lines = remedy.conflicts(trial(remedy), 24, module)
    assert ["BatchNorm3d" in lines[0], "momentum=None" in lines[1]] == [True, True]

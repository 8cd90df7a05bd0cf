"""Batch norm of stacked members in one call, beside torch's own of each member."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tune_lb.training import stacked_batch_norm
from tune_lb.training.stacked_batch_norm import normalizing_members_at_once

MEMBERS = 3


@pytest.mark.parametrize(
    ("kind", "shape"), [(nn.BatchNorm1d, (5, 4)), (nn.BatchNorm1d, (5, 4, 3)), (nn.BatchNorm2d, (5, 4, 2, 3))]
)
@pytest.mark.parametrize(
    "options",
    [{}, {"affine": False}, {"track_running_stats": False}, {"momentum": 0.7, "eps": 0.1}],
)
def test_outputs_gradients_and_statistics_are_those_of_each_member(kind, shape, options, monkeypatch):
    monkeypatch.setattr(stacked_batch_norm, "LARGE", 0)
    torch.manual_seed(0)
    inputs = torch.randn(MEMBERS, *shape, dtype=torch.float64)
    layers = [kind(shape[1], dtype=torch.float64, **options) for _ in range(MEMBERS)]
    for layer in layers:
        for value in layer.parameters():
            nn.init.normal_(value)
        if layer.running_mean is not None:
            nn.init.uniform_(layer.running_mean)
            layer.num_batches_tracked.fill_(2)
    params, buffers = torch.func.stack_module_state(layers)
    weights = torch.randn_like(inputs)
    module = normalizing_members_at_once(kind(shape[1], dtype=torch.float64, **options))

    def of_one(own, state, x):
        return torch.func.functional_call(module, (own, state), (x,))

    given = inputs.clone().requires_grad_()
    found = torch.func.vmap(of_one)(params, buffers, given)
    gradients = torch.autograd.grad((found * weights).sum(), [given, *params.values()])
    for i, layer in enumerate(layers):
        x = inputs[i].clone().requires_grad_()
        expected = layer(x)
        own = torch.autograd.grad((expected * weights[i]).sum(), [x, *layer.parameters()])
        torch.testing.assert_close(found[i], expected)
        for one, other in zip(gradients, own, strict=True):
            torch.testing.assert_close(one[i], other)
        for name, value in layer.named_buffers():
            torch.testing.assert_close(buffers[name][i], value)


def test_a_layer_by_itself_and_in_evaluation_mode_is_torch_s_own(monkeypatch):
    monkeypatch.setattr(stacked_batch_norm, "LARGE", 0)
    x = torch.randn(6, 4)
    layer = normalizing_members_at_once(nn.BatchNorm1d(4))
    assert torch.equal(layer.eval()(x), nn.BatchNorm1d(4).eval()(x))
    with torch.no_grad():
        assert torch.equal(layer.train()(x), nn.BatchNorm1d(4)(x))

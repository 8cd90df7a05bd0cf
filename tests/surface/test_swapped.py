"""Tensors that stand in a module's places: for as long as derivatives are taken, and what the module assigns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.metrics.cases import cross_entropy, data, dense_hessian
from tune_lb.surface.loss_surface import LossSurface
from tune_lb.surface.member_surfaces import MemberSurfaces
from tune_lb.surface.swapped import Places


def plain_loss(flat: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross entropy of Saving at a flat point, written out without any module."""
    w1, b1, w2, b2, w3, b3 = flat.split([30, 5, 25, 5, 15, 3])
    hidden = torch.tanh(torch.tanh(inputs @ w1.view(5, 6).T + b1) @ w2.view(5, 5).T + b2)
    scores = hidden @ w3.view(3, 5).T + b3
    return (torch.logsumexp(scores, 1) - scores.gather(1, targets[:, None])[:, 0]).mean()


class Saving(nn.Module):
    """Three layers; the activations of two are made again in the backward pass."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh()), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(checkpoint(self.body, inputs, use_reentrant=False))


def flat_weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_put_stays_until_the_block_ends() -> None:
    module = nn.Linear(2, 1)
    places, weight, other = Places(module), module.weight, torch.zeros(1, 2)
    with places.kept():
        places.put({"weight": other})
        assert module.weight is other
    assert module.weight is weight


def test_a_buffer_that_is_assigned_is_read_where_it_stands() -> None:
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(2))

        def forward(self, inputs):
            self.mean = inputs.mean(0)
            return inputs

    module, inputs = Mean(), torch.tensor([[1.0, 3.0]])
    places = Places(module)
    with places.kept():
        places.call({"mean": torch.ones(2)}, inputs)
        assert places.at({"mean": None})["mean"].tolist() == [1.0, 3.0]
    assert module.mean.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("chunk", [None, 16])
def test_checkpointed_layers_have_the_hessian_of_the_ones_that_are_not(members: int, chunk: int | None) -> None:
    torch.manual_seed(0)
    networks = [Saving().double() for _ in range(members)]
    inputs, targets = data(40)
    pairs = [(dict(network.named_parameters()), {}) for network in networks]
    template = Saving().double()
    surfaces = MemberSurfaces(template, pairs, cross_entropy, inputs, targets, chunk=chunk)
    vectors = {k: torch.randn(surfaces.surfaces[0].num_parameters, dtype=torch.float64) for k in range(members)}
    # twice: the second product is taken of the graphs that the first one has kept
    products = [surfaces.hvps(vectors) for _ in range(2)]
    for k, network in enumerate(networks):
        expected = dense_hessian(lambda w: plain_loss(w, inputs, targets), flat_weights(network)) @ vectors[k]
        for product in products:
            torch.testing.assert_close(product[k], expected, rtol=1e-9, atol=1e-12)


def test_a_gradient_of_checkpointed_layers_is_taken_at_the_point() -> None:
    torch.manual_seed(1)
    inputs, targets = data(20)
    network = Saving().double()
    surface = LossSurface(network, dict(network.named_parameters()), {}, cross_entropy, inputs, targets)
    point = torch.randn(surface.num_parameters, dtype=torch.float64)
    flat = point.clone().requires_grad_()
    (expected,) = torch.autograd.grad(plain_loss(flat, inputs, targets), flat)
    torch.testing.assert_close(surface.value_and_gradient(point)[1], expected)

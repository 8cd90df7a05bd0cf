"""Slopes: what the network is with them, and where an eigenvector with a dense reference moves them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.trainings import Clusters, batch, flat, training, trial
from tune_lb.errors import RequestError
from tune_lb.losses import cross_entropy
from tune_lb.models.mlp import MLP
from tune_lb.models.resnet import ResNet
from tune_lb.remedies.adaptive_linearization import AdaptiveLinearization, Rectifier
from tune_lb.remedies.sam import SAM
from tune_lb.settings.setting import Settings
from tune_lb.surface.loss_surface import LossSurface
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.gradient import by_autograd, mean_gradient, on_targets

NAME, SLOPE = "adaptive_linearization", "linearization_slope"


def network(remedy=None):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    module = module if remedy is None else remedy.network(module, (4,))
    return module.double()


def data():
    draws = torch.Generator().manual_seed(2)
    return 2 * torch.randn(60, 4, generator=draws).double(), torch.arange(60) % 3


@pytest.mark.parametrize("granularity", ["layer", "unit"])
@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0])
def test_the_network_is_leaky_by_its_slopes(granularity, slope):
    module = network(AdaptiveLinearization(start=slope, granularity=granularity))
    x, _ = data()
    expected = x
    for layer in network():
        expected = F.leaky_relu(expected, slope) if isinstance(layer, nn.ReLU) else layer(expected)
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)
    shapes = {name: tuple(value.shape) for name, value in module.named_buffers()}
    assert shapes == {
        f"1.{SLOPE}": (6,) if granularity == "unit" else (),
        f"3.{SLOPE}": (5,) if granularity == "unit" else (),
    }
    assert module.state_dict().keys() == {*network().state_dict(), *shapes}


def test_a_slope_for_each_channel():
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU())
    module = AdaptiveLinearization(start=0.5, granularity="unit").network(module, (1, 4, 4)).double()
    slopes = torch.tensor([0.0, 0.5, 1.0]).double()
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    found = torch.func.functional_call(module, {f"1.{SLOPE}": slopes}, (x,))
    before = module[0](x)
    for c in range(3):
        torch.testing.assert_close(found[:, c], F.leaky_relu(before[:, c], slopes[c].item()), rtol=1e-12, atol=0)


def move(remedy, module, slopes):
    """Return the slopes after one move from the given ones, as one vector."""
    x, targets = data()
    gradient = remedy.gradient(mean_gradient(module, on_targets(cross_entropy), by_autograd))
    values = {f"{NAME}.delta_plus": remedy.delta_plus, f"{NAME}.delta_minus": remedy.delta_minus}
    given = batch(x, targets, values)._replace(due={NAME: True})
    params = {name: value.detach() for name, value in module.named_parameters()}
    plain = mean_gradient(module, on_targets(cross_entropy), by_autograd)(params, slopes, given)
    loss, gradients, updated = gradient(params, slopes, given)
    assert torch.equal(loss, plain[0])
    assert torch.equal(flat(gradients), flat(plain[1]))
    return flat(updated)


def dense_vector(module, slopes):
    """Return the slopes' part of the dense Hessian's dominant eigenvector over (weights, slopes), <gradient, v> >= 0."""
    x, targets = data()
    point = {name: value.detach() for name, value in module.named_parameters()} | slopes
    sizes = [value.numel() for value in point.values()]

    def loss(vector):
        parts = torch.split(vector, sizes)
        tree = {name: part.view_as(value) for (name, value), part in zip(point.items(), parts, strict=True)}
        return F.cross_entropy(torch.func.functional_call(module, tree, (x,)), targets)

    w = flat(point)
    values, vectors = torch.linalg.eigh(torch.autograd.functional.hessian(loss, w))
    v = vectors[:, -1] * torch.sign(vectors[:, -1] @ torch.autograd.functional.jacobian(loss, w))
    assert values[-1] > 1.05 * values[-2]
    return v[-sum(value.numel() for value in slopes.values()) :]


@pytest.mark.parametrize("granularity", ["layer", "unit"])
def test_slopes_go_against_the_eigenvector_and_stay_in_the_unit_interval(granularity):
    remedy = AdaptiveLinearization(start=0.5, delta_plus=0.05, delta_minus=0.1, granularity=granularity, products=20)
    module = network(remedy)
    slopes = dict(module.named_buffers())
    entries = dense_vector(module, slopes)
    assert entries.abs().min() > 1e-6
    expected = 0.55 - 0.15 * (entries > 0).double()
    torch.testing.assert_close(move(remedy, module, slopes), expected, rtol=1e-12, atol=1e-12)
    if granularity == "unit":
        assert 0 < (entries > 0).sum() < len(entries)
    for start, signs in ((0.02, [0.0, 0.07]), (0.98, [0.88, 1.0])):
        at = {name: torch.full_like(value, start) for name, value in slopes.items()}
        found = move(remedy, module, at)
        assert all(min(abs(value - sign) for sign in signs) < 1e-12 for value in found.tolist())


def test_the_other_orientation_is_that_of_the_largest_entry():
    by_gradient, by_entry = (
        move(remedy, network(remedy), dict(network(remedy).named_buffers()))
        for remedy in (
            AdaptiveLinearization(start=0.5, delta_plus=0.1, granularity="unit", products=20, orientation=orientation)
            for orientation in ("gradient", "largest")
        )
    )
    # the same vector or its opposite: all entries moved alike, or all the other way
    same = torch.allclose(by_gradient, by_entry)
    assert same or torch.allclose(by_gradient + by_entry, torch.ones_like(by_entry))


def test_slopes_are_state_of_the_network_in_training_and_evaluation():
    of = trial(AdaptiveLinearization(start=0.5, delta_plus=0.1, every=2, products=3))
    running = training(of)
    seen = []
    while not running.done:
        running.advance(1e-9)
        member = next(running.trained())
        seen.append(next(value for name, value in member.buffers.items() if name.endswith(SLOPE)).item())
    assert all(min(abs(seen[i] - seen[i - 1] - change) for change in (0.1, -0.1)) < 1e-12 for i in (2, 4))
    assert (seen[0], seen[2], seen[4]) == (seen[1], seen[3], seen[5])
    x = running.parts.train
    with LossSurface(
        running.evaluation_module, member.params, member.buffers, of.loss, x.standardized(slice(None)), x.targets
    ) as f:
        found = f.value()
    module = copy.deepcopy(running.evaluation_module)
    module.load_state_dict(member.params | member.buffers)
    (rectifier,) = (part for part in module.modules() if isinstance(part, Rectifier))
    assert rectifier.get_buffer(SLOPE).item() == seen[-1]
    assert found == pytest.approx(
        of.loss(module.eval()(x.standardized(slice(None)).double()), x.targets).mean().item(), rel=1e-9
    )


def test_costs_count():
    of = trial(AdaptiveLinearization(start=0.5, every=4, products=6))
    assert of.evaluations_per_update == 1 + 2 * 6 / 4
    assert [of.remedies[0].due(of.plan(80).position(step)) for step in range(5)] == [True, False, False, False, True]


class Functional(nn.Module):
    """Rectifies by a function, which cannot be replaced."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs):
        return F.relu(self.layer(inputs))


def test_what_cannot_be_done_is_refused():
    remedy = AdaptiveLinearization(start=0.5)
    (line,) = remedy.conflicts(trial(remedy), 24, Functional())
    assert "no nn.ReLU" in line
    (line,) = remedy.conflicts(trial(remedy, SAM(rho=0.1)), 24, MLP()((5,), 3))
    assert all(word in line for word in ("adaptive_linearization", "sam"))
    shared = nn.ReLU()
    module = nn.Sequential(nn.Linear(4, 6), shared, nn.Linear(6, 5), shared)
    with pytest.raises(RequestError, match="several widths"):
        AdaptiveLinearization(start=0.5, granularity="unit").network(copy.deepcopy(module), (4,))
    twins = [part for part in AdaptiveLinearization(start=0.5).network(module, (4,)) if isinstance(part, Rectifier)]
    assert twins[0] is twins[1]


class Rectifying(nn.Module):
    """One rectifier that is a module, and one more that is not."""

    def __init__(self, rectify):
        super().__init__()
        self.first, self.relu, self.second = nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)
        self.rectify = rectify

    def forward(self, inputs):
        return self.second(self.rectify(self.relu(self.first(inputs.flatten(1)))))


RECTIFY = {
    "F.relu": F.relu,
    "relu_": lambda y: y.clone().relu_(),
    "clamp": lambda y: y.clamp(min=0),
    "clamp_min": lambda y: y.clamp_min(0.0),
    "tanh": torch.tanh,
    "relu6": lambda y: y.clamp(0, 6),
}


@dataclass(frozen=True)
class RectifyingModel(Settings):
    way: str = "F.relu"

    def __call__(self, input_shape, num_classes):
        return Rectifying(RECTIFY[self.way])


@pytest.mark.parametrize(("way", "refused"), [(way, way not in ("tanh", "relu6")) for way in RECTIFY])
def test_a_rectifier_that_is_no_module_is_refused(way, refused):
    remedy = AdaptiveLinearization(start=0.5)
    lines = check_against_data(replace(trial(remedy), model=RectifyingModel(way)), Clusters().load(0))
    assert bool(lines) == refused
    assert all("1 rectifiers of the model are calls of a function" in line for line in lines)
    assert not check_against_data(replace(trial(), model=RectifyingModel(way)), Clusters().load(0))


@pytest.mark.parametrize("preactivation", [False, True])
def test_every_rectifier_of_a_residual_network_gets_a_slope(preactivation):
    model = ResNet(depth=8, width=2, preactivation=preactivation)
    module = AdaptiveLinearization(start=0.5).network(model((3, 8, 8), 10), (3, 8, 8))
    # two in each of three blocks and one beside them
    assert sum(isinstance(part, Rectifier) for part in module.modules()) == 2 * 3 + 1
    assert AdaptiveLinearization(start=0.5).network_problems(module, torch.randn(2, 3, 8, 8)) == []
    linear = AdaptiveLinearization(start=1.0).network(model((3, 8, 8), 10), (3, 8, 8)).eval()
    x, y = torch.randn(2, 4, 3, 8, 8).double()
    f = linear.double()
    torch.testing.assert_close(f(x + y) + f(0 * x), f(x) + f(y), rtol=1e-10, atol=1e-10)

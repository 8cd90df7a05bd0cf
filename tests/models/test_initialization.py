"""Starts: closed-form bounds and variances, what is left alone, one start per seed, and the field of a trial."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import nn

from tests.trainings import Blobs, flat, training, trajectory, trial
from tune_lb.errors import RequestError
from tune_lb.models.initialization import Initialization
from tune_lb.models.mlp import MLP
from tune_lb.settings.domain import over
from tune_lb.settings.identity import identity
from tune_lb.training.data_checks import check_against_data

KINDS = ("glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "pytorch")


def deviation(kind, fan_in, fan_out):
    """Return the standard deviation of the weights by the sources' formulas."""
    variance = {
        "glorot_uniform": 2 / (fan_in + fan_out),
        "glorot_normal": 2 / (fan_in + fan_out),
        "he_uniform": 2 / fan_in,
        "he_normal": 2 / fan_in,
        "pytorch": 1 / (3 * fan_in),
    }
    return math.sqrt(variance[kind])


def network():
    """Return a network with a layer of every kind; the fans of each weight stand beside it."""
    layers = [nn.Linear(120, 200), nn.Conv2d(16, 24, (3, 5)), nn.Conv1d(30, 40, 7, bias=False), nn.BatchNorm2d(6)]
    return nn.Sequential(*layers), [(120, 200), (16 * 15, 24 * 15), (30 * 7, 40 * 7)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_the_weights_follow_the_formula(kind, scale):
    module, fans = network()
    torch.manual_seed(3)
    Initialization(kind, scale)(module)
    for layer, (fan_in, fan_out) in zip(module, fans, strict=False):
        weights, sigma = layer.weight.detach().flatten().double(), scale * deviation(kind, fan_in, fan_out)
        if kind.endswith("normal"):
            law = stats.norm(0, sigma)
        else:
            bound = math.sqrt(3) * sigma
            assert 0.99 * bound < weights.abs().max() <= bound * (1 + 1e-6)
            law = stats.uniform(-bound, 2 * bound)
        assert stats.kstest(weights.numpy(), law.cdf).pvalue > 1e-3
        # 4 standard errors of a standard deviation; twice the variance would be 40 % away
        assert weights.std() == pytest.approx(sigma, rel=4 / math.sqrt(2 * len(weights)))


def test_biases_are_zero_as_in_keras_and_torchs_own_under_pytorch():
    for kind in KINDS:
        module, fans = network()
        Initialization(kind, 5.0)(module)
        for layer, (fan_in, _) in zip(module[:2], fans, strict=False):
            bound = 1 / math.sqrt(fan_in) if kind == "pytorch" else 0.0
            assert layer.bias.abs().max() <= bound
            assert (layer.bias.abs().max() > bound / 2) == (kind == "pytorch")


def test_normalisation_stays_as_the_network_made_it():
    module, _ = network()
    nn.init.zeros_(module[3].weight)
    before = {name: value.clone() for name, value in module[3].state_dict().items()}
    Initialization("he_normal", 2.0)(module)
    assert all(torch.equal(value, before[name]) for name, value in module[3].state_dict().items())


def test_pytorch_is_what_torch_draws():
    torch.manual_seed(5)
    expected = nn.Linear(7, 3)
    module = nn.Linear(7, 3)
    torch.manual_seed(5)
    Initialization("pytorch")(module)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), expected.parameters(), strict=True))


def start(of, seed, execution="alone"):
    return next(m for m in training(of, (0, seed), execution).trained() if m.seed == seed).params


def test_every_seed_has_one_start():
    of = trial(initialization=Initialization())
    assert torch.equal(flat(start(of, 3)), flat(start(of, 3)))
    assert torch.equal(flat(start(of, 3)), flat(start(of, 3, "together")))
    assert not torch.equal(flat(start(of, 3)), flat(start(of, 4)))
    # the same draws under another factor
    twice = start(replace(of, initialization=Initialization(scale=2.0)), 3)
    for name, value in start(of, 3).items():
        torch.testing.assert_close(twice[name], 2 * value if value.ndim > 1 else value)
    assert not torch.equal(flat(start(trial(), 3)), flat(start(of, 3)))


def test_it_leaves_the_global_generator_and_the_data_order_alone():
    before = torch.get_rng_state()
    batches = [training(of).batches.batch(0, 1).inputs for of in (trial(), trial(initialization=Initialization()))]
    trajectory(trial(initialization=Initialization("he_normal")))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*batches)


def test_without_it_a_trial_is_the_one_that_it_was():
    assert "initialization" not in identity(trial())
    assert "initialization" in identity(trial(initialization=Initialization()))
    ids = {trial(initialization=start).trial_id("a") for start in (None, Initialization(), Initialization(scale=2.0))}
    assert len(ids) == 3


def zeros(module):
    for parameter in module.parameters():
        nn.init.zeros_(parameter)


def test_a_function_of_ones_own():
    of = trial(initialization=zeros)
    assert of.problems() == []
    assert of.columns()["initialization"] == "zeros"
    assert flat(start(of, 0)).abs().max() == 0


def test_is_searched_by_its_fields():
    of = trial(initialization=Initialization(**Initialization.suggested()))
    assert of.dimensions().keys() == {"initialization.kind", "initialization.scale"}
    assert of.problems() == []
    row = of.resolved({"initialization.kind": "he_normal", "initialization.scale": 0.5}).columns()
    assert row["initialization"] == "Initialization(kind='he_normal', scale=0.5)"
    assert (row["initialization.kind"], row["initialization.scale"]) == ("he_normal", 0.5)
    assert trial().columns()["initialization"] is None


class Prototypes(nn.Module):
    """Distances to one point for each class: a parameter, and no layer to draw."""

    def __init__(self, num_inputs, num_classes):
        super().__init__()
        self.points = nn.Parameter(torch.ones(num_classes, num_inputs))

    def forward(self, inputs):
        return -torch.cdist(inputs, self.points)


def prototypes(input_shape, num_classes):
    return Prototypes(*input_shape, num_classes)


def test_what_cannot_be_drawn_is_said_before_training():
    lines = check_against_data(trial(model=prototypes, initialization=Initialization()), Blobs().load(0))
    assert len(lines) == 1
    assert lines[0].startswith("arm 'arm': initialization")
    assert "no linear or convolution layer" in lines[0]
    with pytest.raises(RequestError, match="lazy layers"):
        Initialization()(nn.Sequential(nn.Linear(5, 4), nn.LazyLinear(3)))
    with pytest.raises(RequestError, match="no linear"):
        Initialization()(nn.BatchNorm1d(3))
    fine = trial(model=MLP(hidden=(6,)), initialization=Initialization())
    assert check_against_data(fine, Blobs().load(0)) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Initialization("uniform"), "initialization.kind = uniform: must be one of"),
        (Initialization(scale=0.0), "initialization.scale = 0.0: must be above 0"),
        (Initialization(over(["he_normal", "he"])), "kind = {he_normal, he}: must be one of"),
        ("glorot_uniform", "initialization = glorot_uniform: must be"),
    ],
)
def test_what_is_out_of_range_is_said(given, words):
    lines = trial(initialization=given).problems()
    assert len(lines) == 1
    assert words in lines[0]

"""A network that does not take the data is refused before training, with both named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainings import Blobs, trial
from tune_lb.data.dataset import DataSet, Part
from tune_lb.errors import RequestError
from tune_lb.models.alexnet import C1
from tune_lb.models.mlp import MLP
from tune_lb.models.resnet import ResNet
from tune_lb.models.torchvision_model import TorchvisionModel
from tune_lb.training.data_checks import check_against_data, fitting_network


def for_five_features(input_shape, num_classes):
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, num_classes))


def for_ten_classes(input_shape, num_classes):
    return nn.Linear(input_shape[0], 10)


def no_network(input_shape, num_classes):
    return torch.zeros(1)


def needs_a_channel(input_shape, num_classes):
    return nn.Conv2d(input_shape[2], 1, 3)


class TwoOutputs(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


def two_outputs(input_shape, num_classes):
    return TwoOutputs(input_shape[0], num_classes)


def mistaken(input_shape, num_classes):
    return nn.Linear({"width": 5}["widht"], num_classes)


class Forgetful(nn.Linear):
    def forward(self, x):
        return self.second(super().forward(x))


def forgetful(input_shape, num_classes):
    return Forgetful(input_shape[0], num_classes)


def lazy(input_shape, num_classes):
    return nn.Sequential(nn.Linear(5, 4), nn.LazyLinear(num_classes))


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (for_five_features, (6,), ["for_five_features", "(6,)", "RuntimeError", "2x6"]),
        (for_ten_classes, (5,), ["for_ten_classes", "shape (2, 10), not (2, 3)"]),
        (two_outputs, (5,), ["two_outputs", "tuple"]),
        (lazy, (5,), ["lazy", "1.weight", "give the layer its input size"]),
        (mistaken, (5,), ["mistaken", "KeyError: 'widht' (", "test_data_checks.py:"]),
        (forgetful, (5,), ["forgetful", "AttributeError", "second", "test_data_checks.py:"]),
        (no_network, (5,), ["no_network", "Tensor", "nn.Module"]),
        (needs_a_channel, (5,), ["needs_a_channel", "(5,)", "IndexError"]),
        (TorchvisionModel("alexnet"), (3, 8, 8), ["alexnet", "(3, 8, 8)"]),
        (TorchvisionModel("inception_v3"), (3, 32, 32), ["inception_v3", "(3, 32, 32)"]),
        (C1(), (28, 28), ["C1", "28 x 28"]),
    ],
)
def test_a_misfit_is_one_line_that_names_model_and_shape(model, shape, words):
    with pytest.raises(RequestError) as raised:
        fitting_network(model, shape, 3)
    (line,) = raised.value.problems
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("model", "shape"),
    [(MLP(), (64,)), (ResNet(depth=8), (8, 8)), (TorchvisionModel("resnet18"), (3, 8, 8)), (for_five_features, (5,))],
)
def test_what_fits_is_returned_and_draws_nothing(model, shape):
    state = torch.get_rng_state()
    assert isinstance(fitting_network(model, shape, 3), nn.Module)
    assert torch.equal(torch.get_rng_state(), state)


def broken(**parts):
    data = Blobs().load(0)
    return dataclasses.replace(data, **{name: Part(*change(*getattr(data, name))) for name, change in parts.items()})


def with_nan(inputs, targets):
    inputs = inputs.copy()
    inputs[3, 1] = np.nan
    return inputs, targets


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": with_nan}, ["blobs, train part: example 3", "not finite"]),
        ({"test": lambda x, t: (x[:0], t[:0])}, ["blobs, test part: empty"]),
        ({"validation": lambda x, t: (x, t + 1)}, ["blobs, validation part: label 3 of example 2", "0 .. 2"]),
        ({"test": lambda x, t: (x[:, :4], t)}, ["blobs, test part", "(4,)", "(5,)"]),
        ({"train": lambda x, t: (x, t[:-1])}, ["24 inputs and 23 labels"]),
        ({"train": lambda x, t: (x, t.astype(np.float32))}, ["labels are float32"]),
    ],
)
def test_bad_examples_are_refused_with_the_data_and_the_part(changes, words):
    (line,) = check_against_data(trial(), broken(**changes))
    for word in words:
        assert word in line


def test_no_validation_part_is_legal_and_good_data_have_no_problem():
    assert check_against_data(trial(), broken(validation=lambda x, t: (x[:0], t[:0]))) == []
    assert check_against_data(trial(), Blobs().load(0)) == []


def test_problems_of_the_data_and_of_the_model_come_together():
    found = check_against_data(trial(model=for_ten_classes), broken(train=with_nan))
    assert len(found) == 2
    assert "not finite" in found[0]
    assert "for_ten_classes" in found[1]


def test_bytes_have_no_nan_to_look_for():
    data = DataSet("bytes", 2, *[Part(np.zeros((4, 2, 2), np.uint8), np.arange(4) % 2)] * 3)
    assert data.problems == []

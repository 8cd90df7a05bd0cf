"""Every network trains a short epoch on real images, and its loss on them falls."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch

from tests.trainings import trial
from tune_lb.budgets import Epochs
from tune_lb.data.caltech import Caltech101
from tune_lb.data.cifar import CIFAR10, CIFAR100
from tune_lb.data.dataset import Part
from tune_lb.data.device import on_device
from tune_lb.data.mnist import MNIST
from tune_lb.models.alexnet import C1, C3
from tune_lb.models.mlp import F1, FourLayerMLP
from tune_lb.models.resnet import ResNet32, ResNet56
from tune_lb.models.small_cnn import SmallCNN
from tune_lb.models.torchvision_model import ResNet50, TorchvisionModel
from tune_lb.models.vgg import C2, C4, VGG11
from tune_lb.optimizers.elementwise import SGD
from tune_lb.schedules import Constant
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.training import Training

SOURCES = {"MNIST": MNIST, "CIFAR10": CIFAR10, "CIFAR100": CIFAR100, "Caltech101": Caltech101}
# network, data set, examples, batch size, learning rate
CASES = [
    (F1(), "MNIST", 640, 64, 0.05),
    (FourLayerMLP(), "MNIST", 640, 64, 0.1),
    (SmallCNN(), "MNIST", 640, 64, 0.1),
    (C1(), "CIFAR10", 320, 32, 0.05),
    (C1(variant="code"), "CIFAR10", 160, 16, 0.01),
    (C3(), "CIFAR100", 320, 32, 0.05),
    (C2(), "CIFAR10", 96, 16, 0.003),
    (C2(variant="code"), "CIFAR10", 160, 16, 0.003),
    (C4(), "CIFAR100", 96, 16, 0.005),
    (VGG11(), "CIFAR10", 96, 16, 0.005),
    (ResNet32(), "CIFAR10", 96, 16, 0.05),
    (ResNet56(), "CIFAR10", 96, 16, 0.02),
    (ResNet50(), "Caltech101", 64, 16, 0.003),
    (TorchvisionModel("resnet18"), "Caltech101", 64, 16, 0.01),
]
MORE = (C2(variant="code"), ResNet56(), ResNet50())
"""Large ones, of which there is another of the kind."""


def marks(model, name):
    return [pytest.mark.data(name), *([pytest.mark.soak] if model in MORE else [])]


@functools.cache
def examples(name, num):
    """Return real examples to train on, and nothing to test: evaluation of ten thousand images is not what is tested."""
    data = SOURCES[name](num_train=num, num_validation=0).load(0)
    return dataclasses.replace(data, test=Part(data.test.inputs[:8], data.test.targets[:8]))


@pytest.mark.parametrize(
    ("model", "name", "num", "batch_size", "lr"),
    [pytest.param(*case, marks=marks(*case[:2]), id=f"{case[0]!r} on {case[1]}") for case in CASES],
)
def test_an_epoch_lowers_the_loss(model, name, num, batch_size, lr):
    data = examples(name, num)
    of = trial(
        data=SOURCES[name](num_train=num, num_validation=0),
        model=model,
        optimizer=SGD(momentum=0.9),
        schedule=Constant(),
        budget=Epochs(1.0),
        batch_size=batch_size,
        lr=lr,
    )
    assert check_against_data(of, data) == []
    running = Training(of, [0], on_device(data, "cpu"), dtype=torch.float32)
    before = {row.name: row.value for row in running.evaluate()}
    running.advance()
    after = {row.name: row.value for row in running.evaluate()}
    assert running.done
    assert after["train_loss"] < before["train_loss"]


@pytest.mark.data("CIFAR10", "CIFAR100", "Caltech101")
def test_the_sets_are_what_they_are_said_to_be():
    sizes = {
        "CIFAR10": (50_000, 10_000, 10, 32),
        "CIFAR100": (None, None, 100, 32),
        "Caltech101": (6505, 2172, 101, 64),
    }
    for name, (num_train, num_test, num_classes, side) in sizes.items():
        data = SOURCES[name](num_validation=0).load(0)
        assert data.problems == []
        assert (data.input_shape, data.num_classes) == ((3, side, side), num_classes)
        assert num_train in (None, len(data.train.targets))
        assert num_test in (None, len(data.test.targets))
        # about 5,000 images: their means differ from all images' by a hundredth
        inputs = data.standardized(data.train.inputs[:: max(1, len(data.train.targets) // 5000)])
        assert abs(inputs.mean((0, 2, 3))).max() < 0.03
        assert abs(inputs.std((0, 2, 3)) - 1).max() < 0.03

"""Every network has the parameters that its description implies, counted by hand, and the outputs of its classes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from tune_lb.models.alexnet import C1, C3
from tune_lb.models.mlp import F1, F2, MLP, FourLayerMLP
from tune_lb.models.resnet import ResNet, ResNet32, ResNet56
from tune_lb.models.small_cnn import SmallCNN
from tune_lb.models.torchvision_model import ResNet50, TorchvisionModel
from tune_lb.models.vgg import C2, C4, VGG11


def bn(*channels):
    return 2 * sum(channels)


def convs(*channels, side=3):
    return sum(a * b * side * side for a, b in itertools.pairwise(channels))


def dense(*widths):
    return sum(a * b for a, b in itertools.pairwise(widths))


VGG16 = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG_11 = (3, 64, 128, 256, 256, 512, 512, 512, 512)


def alexnet(features, classes):
    return convs(3, 64, 64, side=5) + bn(64, 64) + dense(features, 384, 192) + bn(384, 192) + 192 * classes + classes


def vgg(classes):
    return convs(*VGG16) + bn(*VGG16[1:]) + dense(512, 512) + bn(512) + 512 * classes + classes


def resnet(n):
    """First convolution, 2 n convolutions per stage, the first of a stage wider; a batch norm per convolution; linear."""
    weights = 9 * (3 * 16 + 2 * n * 16 * 16 + 16 * 32 + (2 * n - 1) * 32 * 32 + 32 * 64 + (2 * n - 1) * 64 * 64)
    return weights + bn(16) + 2 * n * bn(16, 32, 64) + 64 * 10 + 10


# the same batch norms in another order: the first of a stage sees the channels of the stage before, one more is at the end
PREACTIVATION_32 = resnet(5) - bn(16) - bn(32, 64) + bn(16, 32) + bn(64)

# bottlenecks: (in, middle, blocks), out = 4 middle; a projection in the first block of each stage
STAGES = ((64, 64, 3), (256, 128, 4), (512, 256, 6), (1024, 512, 3))


def bottlenecks():
    total = 0
    for fan_in, middle, blocks in STAGES:
        out = 4 * middle
        total += fan_in * out + bn(out)
        for block in range(blocks):
            first = (fan_in if block == 0 else out) * middle
            total += first + 9 * middle * middle + middle * out + bn(middle, middle, out)
    return total


CASES = [
    (F1(), (28, 28), 10, dense(784, *[512] * 5) + bn(*[512] * 5) + 5120 + 10),
    (F2(), (360,), 1973, dense(360, *[512] * 7) + bn(*[512] * 7) + 512 * 1973 + 1973),
    (FourLayerMLP(), (28, 28), 10, dense(784, 256, 256, 256, 10) + 3 * 256 + 10),
    (MLP(hidden=(7, 5)), (4,), 3, dense(4, 7, 5, 3) + bn(7, 5) + 3),
    (C1(), (3, 32, 32), 10, alexnet(64, 10)),
    (C1(variant="code"), (3, 32, 32), 10, alexnet(64 * 8 * 8, 10)),
    (C3(), (3, 32, 32), 100, alexnet(64, 100)),
    (C2(), (3, 32, 32), 10, vgg(10)),
    (C2(variant="code"), (3, 32, 32), 10, vgg(10)),
    (C4(), (3, 32, 32), 100, vgg(100)),
    (VGG11(), (3, 32, 32), 10, convs(*VGG_11) + bn(*VGG_11[1:]) + 5130),
    (ResNet32(), (3, 32, 32), 10, PREACTIVATION_32),
    (ResNet56(), (3, 32, 32), 10, resnet(9)),
    (ResNet(depth=20, shortcut="convolution"), (3, 32, 32), 10, resnet(3) + 16 * 32 + 32 * 64 + bn(32, 64)),
    (ResNet32(shortcut="convolution"), (3, 32, 32), 10, PREACTIVATION_32 + 16 * 32 + 32 * 64),
    (SmallCNN(), (28, 28), 10, 9 * 32 + 32 + 9 * 32 * 64 + 64 + 64 * 5 * 5 * 10 + 10),
    (ResNet50(), (3, 64, 64), 10, 49 * 3 * 64 + bn(64) + bottlenecks() + 20490),
    (ResNet50(stem="small_image"), (3, 32, 32), 10, 9 * 3 * 64 + bn(64) + bottlenecks() + 20490),
    (TorchvisionModel("squeezenet1_1"), (3, 32, 32), 10, 722_496 + 513 * 10),
]


@pytest.mark.parametrize(("model", "shape", "classes", "expected"), CASES, ids=[repr(case[0]) for case in CASES])
def test_parameters_are_those_counted_by_hand(model, shape, classes, expected):
    module = model(shape, classes).eval()
    assert sum(p.numel() for p in module.parameters()) == expected
    assert all(p.requires_grad for p in module.parameters())
    with torch.no_grad():
        assert module(torch.zeros(2, *shape)).shape == (2, classes)


def test_counts_of_the_literature():
    # He et al., 2016, table 6 (0.46 M, 0.85 M); torchvision's table of ResNet-50 with 1,000 classes
    assert [round(resnet(n) / 1e6, 2) for n in (5, 9)] == [0.46, 0.85]
    assert 49 * 3 * 64 + bn(64) + bottlenecks() + 2_049_000 == 25_557_032
    assert PREACTIVATION_32 == 464_154


@pytest.mark.parametrize(("variant", "sides"), [("paper", [16, 5, 3, 1]), ("code", [32, 16, 16, 8])])
def test_sides_of_c1s_feature_maps(variant, sides):
    seen = []
    module = C1(variant=variant)((3, 32, 32), 10).eval()
    for part in module:
        if isinstance(part, nn.Conv2d | nn.MaxPool2d):
            part.register_forward_hook(lambda _, __, out: seen.append(out.shape[-1]))
    module(torch.zeros(1, 3, 32, 32))
    assert seen == sides


def rates(model):
    return [part.p for part in model((3, 32, 32), 10) if isinstance(part, nn.modules.dropout._DropoutNd)]


def test_dropout_stands_where_the_sources_have_it():
    assert rates(C1()) == rates(C1(variant="code")) == [0.5, 0.5]
    assert rates(C2()) == [0.5]
    assert rates(C2(variant="code")) == [0.3, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.5, 0.5]
    assert rates(SmallCNN(dropout=0.25)) == [0.25]
    assert rates(SmallCNN(dropout=0.25, dropout_after="each_pool")) == [0.25, 0.25]
    kinds = [type(part).__name__ for part in SmallCNN(dropout_after="each_pool")((3, 32, 32), 10)]
    stage = ["Conv2d", "ReLU", "MaxPool2d", "KeyedDropout"]
    assert [kind for kind in kinds if kind != "Flatten"] == [*stage, *stage, "Linear"]

"""Networks of the VGG family for small images: C2 and C4 of Keskar et al. (2017), and VGG-11 with batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tune_lb.models.alexnet import VARIANTS
from tune_lb.models.dropout import keyed
from tune_lb.models.images import image_input
from tune_lb.settings.setting import Settings, setting

KESKAR_STACKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG11_STACKS = ((64,), (128,), (256, 256), (512, 512), (512, 512))


@dataclass(frozen=True)
class C2(Settings):
    """Thirteen 3 x 3 convolutions in stacks of 2, 2, 3, 3, 3 with a pool of 2 after each, dense 512, output.

    64, 128, 256, 512 and 512 filters; batch norm and ReLU after every layer. "paper": the text says of its layers' properties
    that they are as in C1, so dropout of 0.5 follows the dense layer. "code": what the authors published has, besides, dropout
    of 0.3 (first stack) and 0.4 between the convolutions of a stack, and of 0.5 before the dense layer.

    Source: Keskar et al., 2017, appendix B.4; keskarnitish/large-batch-training, network_zoo.py, `deepnet`. Departures: no
    bias before a batch norm, which would remove it; the code's batch norm uses batch statistics in evaluation too.
    """

    variant: str = setting("paper", "the paper's text, or its authors' code", one_of=VARIANTS)

    def __call__(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        """Return the network for images of at least 32 x 32; raise RequestError for others."""
        code = self.variant == "code"
        channels, height, width, leading = image_input(type(self).__name__, input_shape, smallest=32)
        between = (0.3, 0.4, 0.4, 0.4, 0.4) if code else (0.0,) * 5
        layers = leading + _convolutions(channels, KESKAR_STACKS, between) + [nn.Flatten()]
        if code:
            layers.append(nn.Dropout(0.5))
        features = 512 * (height // 32) * (width // 32)
        layers += [nn.Linear(features, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.5)]
        return keyed(nn.Sequential(*layers, nn.Linear(512, num_classes)))


@dataclass(frozen=True)
class C4(C2):
    """C2 under the name that it has on CIFAR-100: only the number of outputs differs."""


@dataclass(frozen=True)
class VGG11(Settings):
    """Eight 3 x 3 convolutions with batch norm and ReLU, a pool of 2 after each stack, one linear layer.

    Configuration A of Simonyan and Zisserman, 2015, in the form usual for 32 x 32 images, which paper and code of Xing et al.,
    2018, ("A walk with SGD") do not spell out: the mean over positions replaces the three dense layers.
    """

    def __call__(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        """Return the network for images of at least 32 x 32; raise RequestError for others."""
        channels, _, _, leading = image_input("VGG11", input_shape, smallest=32)
        layers = leading + _convolutions(channels, VGG11_STACKS, (0.0,) * 5)
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes))


def _convolutions(channels: int, stacks: Sequence[Sequence[int]], between: Sequence[float]) -> list[nn.Module]:
    """Return the stacks, with dropout at the given rates between the convolutions of each."""
    layers: list[nn.Module] = []
    for filters, rate in zip(stacks, between, strict=True):
        for position, fan_out in enumerate(filters):
            if position and rate:
                layers.append(nn.Dropout(rate))
            layers += [nn.Conv2d(channels, fan_out, 3, padding=1, bias=False), nn.BatchNorm2d(fan_out), nn.ReLU()]
            channels = fan_out
        layers.append(nn.MaxPool2d(2))
    return layers

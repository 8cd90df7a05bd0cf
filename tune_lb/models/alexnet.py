"""The convolutional networks C1 and C3 of Keskar et al. (2017): a small relative of AlexNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tune_lb.models.dropout import keyed
from tune_lb.models.images import image_input
from tune_lb.settings.setting import Settings, setting

VARIANTS = ("paper", "code")


@dataclass(frozen=True)
class C1(Settings):
    """2 x (convolution of 64 filters of 5 x 5, pool of 3), dense 384, 192, output; batch norm and ReLU after each.

    Dropout of 0.5 after both dense layers. "paper" is the text read to the letter: convolutions of stride 2 (same padding)
    and pools of stride 3, which leave 64 features of a 32 x 32 image. "code" is what the authors published: stride 1, pools
    of stride 2 (padding 1), 4,096 features. Which of the two the published 77 to 80 % of test images are from is not said; the
    authors' code is theirs, and 64 features are few for it. A comparison with that table names the variant.

    Source: Keskar et al., 2017, appendix B.3; keskarnitish/large-batch-training, network_zoo.py, `shallownet`. Departures:
    no bias before a batch norm, which would remove it; the code's batch norm uses batch statistics in evaluation too.
    """

    variant: str = setting("paper", "the paper's text, or its authors' code", one_of=VARIANTS)

    def __call__(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        """Return the network for images; raise RequestError for other shapes."""
        text = self.variant == "paper"
        name = type(self).__name__
        channels, height, width, leading = image_input(name, input_shape, smallest=29 if text else 1)
        layers = leading
        for fan_in in (channels, 64):
            convolution = nn.Conv2d(fan_in, 64, 5, stride=2 if text else 1, padding=2, bias=False)
            pool = nn.MaxPool2d(3) if text else nn.MaxPool2d(3, stride=2, padding=1)
            layers += [convolution, nn.BatchNorm2d(64), nn.ReLU(), pool]
        layers.append(nn.Flatten())
        features = 64 * _pooled(height, text) * _pooled(width, text)
        for fan_in, fan_out in ((features, 384), (384, 192)):
            layers += [nn.Linear(fan_in, fan_out, bias=False), nn.BatchNorm1d(fan_out), nn.ReLU(), nn.Dropout(0.5)]
        return keyed(nn.Sequential(*layers, nn.Linear(192, num_classes)))


@dataclass(frozen=True)
class C3(C1):
    """C1 under the name that it has on CIFAR-100: only the number of outputs differs."""


def _pooled(side: int, text: bool) -> int:
    """Return the side of what two stages leave: a convolution of stride 2 halves (up), a pool of 3 takes whole thirds."""
    for _ in range(2):
        side = (side + 1) // 2
        side = side // 3 if text else side
    return side

"""Residual networks for 32 x 32 images (He et al., 2016), with batch norm after or before the convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from tune_lb.models.images import image_input
from tune_lb.settings.domain import Choice, Interval
from tune_lb.settings.setting import Settings, setting


@dataclass(frozen=True)
class ResNet(Settings):
    """A 3 x 3 convolution, three stages of n blocks of two with w, 2 w and 4 w channels, mean over positions, linear layer.

    depth = 6 n + 2. The second and third stage begin with stride 2. Block, after the sum: y = relu(s(x) + bn(conv(relu(bn(
    conv(x)))))); pre-activation: y = s(x) + conv(relu(bn(conv(relu(bn(x)))))), and one more bn and relu before the mean.
    The shortcut s is the identity; where the shape changes it takes every second pixel and zeros for new channels (option A),
    or is a 1 x 1 convolution of stride 2 (option B; followed by a batch norm, or in a pre-activation block fed with relu(bn(x))).
    Convolutions start normal with variance 2 / (fan in). Every rectifier is a module of its own, which remedies find.

    Source: He, Zhang, Ren and Sun, "Deep residual learning", CVPR 2016, section 4.2; "Identity mappings", ECCV 2016.
    """

    depth: int = setting(32, "layers with weights on the longest path: 6 n + 2", low=8)
    preactivation: bool = setting(False, "batch norm and ReLU before each convolution")
    shortcut: str = setting(
        "zeros",
        "shortcut where the shape changes: every second pixel and zeros, or a 1 x 1 convolution",
        one_of=("zeros", "convolution"),
    )
    width: int = setting(16, "channels of the first stage", low=1)

    def problems(self, where: str = "") -> list[str]:
        """Also refuse a depth that is not 6 n + 2."""
        found = super().problems(where)
        depth = self.depth
        ends = depth.values if isinstance(depth, Choice) else () if isinstance(depth, Interval) else (depth,)
        if isinstance(depth, Interval) or any(isinstance(end, int) and end % 6 != 2 for end in ends):
            found.append(f"{where or 'ResNet'}.depth = {depth}: must be 6 n + 2, such as 20, 32, 44, 56 or 110")
        return found

    def __call__(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        """Return the network for images; raise RequestError for other shapes."""
        channels, _, _, leading = image_input(type(self).__name__, input_shape, smallest=1)
        layers = [*leading, nn.Conv2d(channels, self.width, 3, padding=1, bias=False)]
        if not self.preactivation:
            layers += [nn.BatchNorm2d(self.width), nn.ReLU()]
        kind = PreactivationBlock if self.preactivation else Block
        fan_in = self.width
        for stage in range(3):
            fan_out = self.width << stage
            for block in range((self.depth - 2) // 6):
                stride = 2 if stage and not block else 1
                layers.append(kind(fan_in, fan_out, stride, self.shortcut == "convolution"))
                fan_in = fan_out
        if self.preactivation:
            layers += [nn.BatchNorm2d(fan_in), nn.ReLU()]
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(fan_in, num_classes))
        for part in network.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        return network


@dataclass(frozen=True)
class ResNet32(ResNet):
    """The 32 layers, pre-activation, of Hynes, "Towards Mini-Error with Maxi-Batch SGD", on CIFAR-10."""

    preactivation: bool = setting(True, "batch norm and ReLU before each convolution")


@dataclass(frozen=True)
class ResNet56(ResNet):
    """The 56 layers of Xing et al., 2018, "A walk with SGD"."""

    depth: int = setting(56, "layers with weights on the longest path: 6 n + 2", low=8)


class Block(nn.Module):
    """Two convolutions, and batch norm and ReLU after each, the last ReLU after the sum."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, projected: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(fan_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 and projected:
            self.shortcut = nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out))
        elif stride != 1:
            self.shortcut = ZeroPadding(stride, fan_out - fan_in)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block of (B, C, H, W)."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        y: Tensor = self.relu2(self.shortcut(x) + self.bn2(self.conv2(inner)))
        return y


class PreactivationBlock(nn.Module):
    """Two convolutions, and batch norm and ReLU before each."""

    def __init__(self, fan_in: int, fan_out: int, stride: int, projected: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(fan_in)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.projected = stride != 1 and projected
        self.shortcut: nn.Module = nn.Identity()
        if self.projected:
            self.shortcut = nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)
        elif stride != 1:
            self.shortcut = ZeroPadding(stride, fan_out - fan_in)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block of (B, C, H, W)."""
        activated = self.relu1(self.bn1(x))
        inner = self.relu2(self.bn2(self.conv1(activated)))
        y: Tensor = self.shortcut(activated if self.projected else x) + self.conv2(inner)
        return y


class ZeroPadding(nn.Module):
    """Every stride-th pixel, and zeros for the new channels."""

    def __init__(self, stride: int, num_channels: int) -> None:
        super().__init__()
        self.stride, self.num_channels = stride, num_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C + new, H / stride, W / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.num_channels))

"""Multilayer perceptrons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tune_lb.settings.domain import Choice
from tune_lb.settings.setting import Settings, setting


@dataclass(frozen=True)
class MLP(Settings):
    """Fully connected network: input, then hidden layers of (linear, batch norm, ReLU), then a linear layer.

    With batch norm the hidden linear layers have no bias of their own: the normalisation would remove it.
    """

    hidden: tuple[int, ...] = setting((128, 128, 128), "units of each hidden layer")
    batch_norm: bool = setting(True, "batch normalization before each ReLU")

    def problems(self, where: str = "") -> list[str]:
        """Also refuse layers without units."""
        found = super().problems(where)
        for hidden in self.hidden.to_check() if isinstance(self.hidden, Choice) else (self.hidden,):
            if isinstance(hidden, tuple | list) and not all(isinstance(width, int) and width > 0 for width in hidden):
                found.append(f"{where or 'MLP'}.hidden = {hidden}: every layer needs at least one unit")
        return found

    def __call__(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        """Return the network for flattened inputs."""
        widths = [math.prod(input_shape), *self.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in itertools.pairwise(widths):
            layers.append(nn.Linear(fan_in, fan_out, bias=not self.batch_norm))
            if self.batch_norm:
                layers.append(nn.BatchNorm1d(fan_out))
            layers.append(nn.ReLU())
        return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))


@dataclass(frozen=True)
class F1(MLP):
    """Keskar et al.'s network for MNIST: 5 hidden layers of 512 (appendix B.1). Departure: see MLP on biases."""

    hidden: tuple[int, ...] = setting((512,) * 5, "units of each hidden layer")


@dataclass(frozen=True)
class F2(MLP):
    """Keskar et al.'s network for TIMIT (360 features, 1,973 classes): 7 hidden layers of 512 (appendix B.2)."""

    hidden: tuple[int, ...] = setting((512,) * 7, "units of each hidden layer")


@dataclass(frozen=True)
class FourLayerMLP(MLP):
    """Four ReLU layers without batch norm, the last one linear, of Jastrzebski et al.'s figure on Fashion-MNIST.

    Source: Jastrzebski et al., 2017, as Jaiswal and Taura show it, "Overcoming Generalization Gap in Large Mini-Batch Training of
    Deep Neural Networks". The widths are not published there: 256 is ours.
    """

    hidden: tuple[int, ...] = setting((256,) * 3, "units of each hidden layer")
    batch_norm: bool = setting(False, "batch normalization before each ReLU")

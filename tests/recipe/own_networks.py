"""Networks, losses and an optimiser as users write them; none is told in full by how it prints itself."""

from __future__ import annotations

import functools
import random
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.recipe.own_package.model import build_model
from tune_lb.models.mlp import MLP
from tune_lb.optimizers import LARS, SGD, AdamW, Group, OptimizerSettings

WEIGHTS = torch.linspace(-1.0, 1.0, 40).sin().reshape(8, 5) * 0.7


def plain(shape, num_classes):
    return nn.Sequential(nn.Linear(shape[0], 8), nn.ReLU(), nn.Linear(8, num_classes))


def shared(shape, num_classes):
    middle = nn.Linear(8, 8)
    return nn.Sequential(
        nn.Linear(shape[0], 8), nn.Tanh(), middle, nn.Tanh(), middle, nn.Tanh(), middle, nn.Linear(8, num_classes)
    )


def frozen(shape, num_classes):
    made = plain(shape, num_classes)
    made[0].requires_grad_(False)
    return made


def own_start(shape, num_classes):
    made = plain(shape, num_classes)
    nn.init.normal_(made[0].weight, std=1e-4)
    return made


def frozen_small(shape, num_classes):
    made = own_start(shape, num_classes)
    made[0].requires_grad_(False)
    return made


def loaded(shape, num_classes):
    made = plain(shape, num_classes)
    made[0].weight.data.copy_(WEIGHTS)
    return made


def slopes(shape, num_classes):
    return nn.Sequential(nn.Linear(shape[0], 8), nn.PReLU(8, init=0.9), nn.Linear(8, num_classes))


def normalised(shape, num_classes):
    return nn.Sequential(nn.Linear(shape[0], 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, num_classes))


def hooked(shape, num_classes):
    made = plain(shape, num_classes)
    made[0].register_forward_hook(doubled)
    return made


def doubled(module, inputs, outputs):
    return 2.0 * outputs


def tied(shape, num_classes):
    made = nn.Sequential(nn.Linear(shape[0], 8), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, num_classes))
    made[3].weight = made[1].weight
    return made


def named(shape, num_classes):
    return nn.Sequential(OrderedDict(body=nn.Linear(shape[0], 8), act=nn.GELU(), head=nn.Linear(8, num_classes)))


def without_bias_start(shape, num_classes):
    made = plain(shape, num_classes)
    made[2].bias = None
    return made


def from_numpy(shape, num_classes):
    made = plain(shape, num_classes)
    made[0].weight.data = torch.tensor(
        np.random.default_rng(np.random.randint(9)).normal(size=(8, 5)), dtype=torch.float32
    )
    made[2].weight.data *= random.random()
    return made


class Running(nn.Module):
    """A buffer that is assigned, and an attribute that counts."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(5, 3), 0
        self.register_buffer("mean", torch.zeros(5))

    def forward(self, x):
        if self.training:
            self.calls += 1
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.layer(x - self.mean) / (1 + 0.1 * self.calls)


def running(shape, num_classes):
    return Running()


def doubles(shape, num_classes):
    return plain(shape, num_classes).double()


def of_width(width):
    def build(shape, num_classes):
        return nn.Sequential(nn.Linear(shape[0], width), nn.Tanh(), nn.Linear(width, num_classes))

    return build


closure = of_width(11)
nameless = lambda shape, num_classes: nn.Sequential(nn.Linear(shape[0], 7), nn.ELU(), nn.Linear(7, num_classes))  # noqa: E731


def wide(shape, num_classes, width, scale=1.0):
    return nn.Sequential(nn.Linear(shape[0], width), Scale(scale), nn.Tanh(), nn.Linear(width, num_classes))


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


partly = functools.partial(wide, width=10, scale=0.5)


@dataclass(frozen=True)
class Net:
    """A model that is a dataclass of no base of ours."""

    width: int = 8
    activation: type = nn.Tanh

    def __call__(self, shape, num_classes):
        return nn.Sequential(nn.Linear(shape[0], self.width), self.activation(), nn.Linear(self.width, num_classes))


class Maker:
    """Makes networks by a method."""

    def __init__(self, width):
        self.width = width

    def build(self, shape, num_classes):
        return of_width(self.width)(shape, num_classes)

    @staticmethod
    def train(shape, num_classes):
        return plain(shape, num_classes)


def train(shape, num_classes):
    """Called as a function of the recipe is."""
    return own_start(shape, num_classes)


maker = Maker(9)

NETWORKS = {
    "plain": plain,
    "shared": shared,
    "frozen": frozen,
    "own_start": own_start,
    "frozen_small": frozen_small,
    "loaded": loaded,
    "slopes": slopes,
    "normalised": normalised,
    "hooked": hooked,
    "tied": tied,
    "named": named,
    "without_bias": without_bias_start,
    "doubles": doubles,
    "from_numpy": from_numpy,
    "running": running,
    "closure": closure,
    "lambda": nameless,
    "partial": partly,
    "dataclass": Net(width=6, activation=nn.ELU),
    "method": maker.build,
    "static": Maker.train,
    "taken_name": train,
    "package": build_model,
    "ours": MLP(hidden=(6,)),
}

LAYER_BY_LAYER = {"plain", "normalised", "static", "package", "closure", "dataclass", "method", "lambda", "ours"}
"""Those that their layers tell in full."""


def focal(outputs, targets, power):
    each = F.cross_entropy(outputs, targets, reduction="none")
    return (1 - (-each).exp()) ** power * each


LOSSES = {
    "partial": functools.partial(F.cross_entropy, reduction="none", label_smoothing=0.1),
    "own": functools.partial(focal, power=2.0),
}


class BodyAndHead(nn.Module):
    def __init__(self, num_features, num_classes):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(num_features, 8), nn.BatchNorm1d(8), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.body(x))))


def body_and_head(shape, num_classes):
    return BodyAndHead(shape[0], num_classes)


@dataclass(frozen=True)
class OwnGroups(OptimizerSettings):
    """AdamW without decay on biases, as users write it."""

    def build(self, tensors, lr, *, members_first=False):
        decayed, others = [p for p in tensors if p.ndim > 1], [p for p in tensors if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=lr)


@dataclass(frozen=True)
class OwnNames(OptimizerSettings):
    def build(self, tensors, lr, names):
        body = [p for name, p in zip(names, tensors, strict=True) if name.startswith("body")]
        rest = [p for name, p in zip(names, tensors, strict=True) if not name.startswith("body")]
        return torch.optim.SGD([{"params": body, "lr": 0.0}, {"params": rest}], lr=lr, momentum=0.9)


OPTIMIZERS = {
    "own_groups": OwnGroups(weight_decay=0.4),
    "own_names": OwnNames(),
    "groups": SGD(
        weight_decay=0.3, groups=(Group("bias|norm", weight_decay=0.0, momentum=0.5), Group("head", rate=0.2))
    ),
    "vectors": AdamW(weight_decay=0.3, groups=(Group(vectors=True, weight_decay=0.0, beta1=0.5),)),
    "one_group": SGD(groups=(Group("", rate=0.5),)),
    "layerwise": LARS(weight_decay=0.1, groups=(Group("body", rate=0.0),)),
}

"""The network of the package."""

from __future__ import annotations

from torch import nn

from .parts import head


def build_model(shape, num_classes):
    """Return a network; called as the recipe calls a function of its own."""
    return nn.Sequential(nn.Linear(shape[0], 9), nn.Tanh(), head(9, num_classes))

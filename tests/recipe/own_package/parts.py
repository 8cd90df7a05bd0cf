"""What the network of the package is made of."""

from __future__ import annotations

from torch import nn


def head(width, num_classes):
    """Return the last layer."""
    return nn.Linear(width, num_classes)

"""The network of Hynes (maxi-batch SGD) and its training: a residual network with identity mappings, SGD, a drop of the rate."""

from __future__ import annotations

from typing import Any

from search_spaces._published import UNTUNED
from tune_lb import Epochs, Space
from tune_lb.data import CIFAR10
from tune_lb.metrics import LambdaMax
from tune_lb.models import ResNet
from tune_lb.optimizers import SGD
from tune_lb.schedules import Step


def residual(*, num_train: int, depth: int, epochs: float, falls: float, **settings: Any) -> Space:
    """Return a space of that network on num_train images of CIFAR-10, whose rate falls at one epoch."""
    return Space(
        data=CIFAR10(num_train=num_train, num_validation=0),
        model=ResNet(depth=depth, preactivation=True),
        optimizer=SGD(momentum=0.9, weight_decay=1e-4),
        lr=0.1,
        schedule=Step(milestones=(falls,), milestone_unit="epochs"),
        budget=Epochs(epochs),
        metrics=(LambdaMax(max_samples=500),),
        **(UNTUNED | settings),
    )

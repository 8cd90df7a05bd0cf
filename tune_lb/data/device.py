"""A data set on the device: resident, shared by every member that trains there."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from tune_lb.data.dataset import DataSet, Part


class Examples(NamedTuple):
    """A part of the data on the device, stored as it was read; `standardized` makes network inputs of it."""

    inputs: Tensor
    targets: Tensor
    offset: float
    scale: float

    def standardized(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Return the chosen examples as network inputs."""
        return self.standardized_values(self.inputs[index])

    def standardized_values(self, stored: Tensor) -> Tensor:
        """Return (stored - offset) / scale as float32."""
        return (stored.float() - self.offset) / self.scale


class Parts(NamedTuple):
    """A data set on the device."""

    train: Examples
    validation: Examples
    test: Examples
    num_classes: int
    input_shape: tuple[int, ...]


def on_device(data: DataSet, device: torch.device | str) -> Parts:
    """Return the data set as tensors on a device; on the CPU they share memory with its arrays."""

    def move(part: Part) -> Examples:
        with warnings.catch_warnings():
            # arrays in an object store are read-only; nothing here writes to them, and sharing saves a copy per worker
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            inputs, targets = (torch.from_numpy(array).to(device) for array in part)
        return Examples(inputs, targets, data.offset, data.scale)

    return Parts(move(data.train), move(data.validation), move(data.test), data.num_classes, data.input_shape)

"""A data set on the device: resident, shared by every member that trains there; or, if too large, streamed from the host."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from tune_lb.data.dataset import Array, DataSet, Part

RESIDENT_SHARE = 0.5
"""Most of a GPU's free memory that a data set may take: the rest is for networks, and for other trials on the device."""


class Examples(NamedTuple):
    """A part of the data, stored as it was read; `standardized` makes network inputs of it, on the device of the targets.

    inputs (N, ...) lie on the device, or in the host's memory where they would not fit. offset and scale: one number, or a
    tensor on the device that broadcasts against an example.
    """

    inputs: Tensor
    targets: Tensor
    offset: float | Tensor
    scale: float | Tensor

    @property
    def device(self) -> torch.device:
        """Return where targets are and network inputs arrive."""
        return self.targets.device

    @property
    def is_resident(self) -> bool:
        """Say whether the inputs are on the device."""
        return self.inputs.device == self.device

    def standardized(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Return the chosen examples as network inputs.

        An index for streamed inputs is best a tensor of the host: one of the device is waited for.
        """
        if not self.is_resident:
            return self.standardized_values(staged(self.inputs, index))
        # twice as fast as indexing with a tensor
        chosen = self.inputs[index] if isinstance(index, slice) else self.inputs.index_select(0, index)
        return self.standardized_values(chosen)

    def standardized_values(self, stored: Tensor) -> Tensor:
        """Return (stored - offset) / scale as float32, on the device."""
        return (stored.to(self.device, non_blocking=True).float() - self.offset) / self.scale


class Parts(NamedTuple):
    """A data set on the device."""

    train: Examples
    validation: Examples
    test: Examples
    num_classes: int
    input_shape: tuple[int, ...]


def staged(inputs: Tensor, index: Tensor | slice) -> Tensor:
    """Return a copy of the chosen rows in pinned host memory, from where the device copies it while the host goes on.

    Only this chunk is pinned, not the data set, whose pages workers share. torch's allocator gives the memory of a chunk to
    the next one only when the copy from it is done.
    """
    pinned = torch.cuda.is_available()
    if isinstance(index, slice):
        rows = inputs[index]
        return torch.empty_like(rows, pin_memory=pinned).copy_(rows)
    index = index.to(inputs.device)
    chunk = torch.empty((len(index), *inputs.shape[1:]), dtype=inputs.dtype, pin_memory=pinned)
    return torch.index_select(inputs, 0, index, out=chunk)


def fits(data: DataSet, device: torch.device) -> bool:
    """Say whether the data set may be resident: always on the CPU, on a GPU within RESIDENT_SHARE of what is free."""
    if device.type != "cuda":
        return True
    num_bytes = sum(part.inputs.nbytes for part in (data.train, data.validation, data.test))
    return num_bytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def on_device(data: DataSet, device: torch.device | str, resident: bool | None = None) -> Parts:
    """Return the data set as tensors for a device; on the CPU, and where streamed, they share memory with its arrays.

    resident: whether inputs are copied to the device; None where they fit (see `fits`).
    """
    device = torch.device(device)
    stays = fits(data, device) if resident is None else resident

    def tensor(array: Array) -> Tensor:
        with warnings.catch_warnings():
            # arrays in an object store are read-only; nothing here writes to them, and sharing saves a copy per worker
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(array)

    def constant(value: float | tuple[float, ...]) -> float | Tensor:
        if not isinstance(value, tuple):
            return value
        return torch.tensor(value, device=device).reshape(data.constants_shape)

    def move(part: Part) -> Examples:
        inputs, targets = map(tensor, part)
        return Examples(
            inputs.to(device) if stays else inputs, targets.to(device), constant(data.offset), constant(data.scale)
        )

    return Parts(move(data.train), move(data.validation), move(data.test), data.num_classes, data.input_shape)

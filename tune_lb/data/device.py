"""A data set on the device: resident, shared by every member that trains there; or, if too large, streamed from the host."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tune_lb.data.dataset import Array, DataSet, Part
from tune_lb.trees import first_leaf, is_tree, leaves, mapped

RESIDENT_SHARE = 0.5
"""Most of a GPU's free memory that a data set may take: the rest is for networks, and for other trials on the device."""


class Examples(NamedTuple):
    """A part of the data, stored as it was read; `standardized` makes network inputs of it, on the device of the targets.

    inputs (N, ...), or a tree of such tensors, lie on the device, or in the host's memory where they would not fit. offset and
    scale: one number, or a tensor on the device that broadcasts against an example.
    """

    inputs: Any
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
        resident: bool = first_leaf(self.inputs).device == self.targets.device
        return resident

    def standardized(self, index: Tensor | slice = slice(None)) -> Any:
        """Return the chosen examples as network inputs: a tensor, or the tree of tensors that an example is.

        An index for streamed inputs is best a tensor of the host: one of the device is waited for.
        """
        if not self.is_resident:
            return self.standardized_values(mapped(lambda leaf: staged(leaf, index), self.inputs))
        # twice as fast as indexing with a tensor
        return self.standardized_values(
            mapped(lambda leaf: leaf[index] if isinstance(index, slice) else leaf.index_select(0, index), self.inputs)
        )

    def standardized_values(self, stored: Any) -> Any:
        """Return (stored - offset) / scale as float32, on the device. Whole numbers that neither is given for stay whole.

        These are tokens, which an embedding takes: int64, or int32 as they are. uint8 are pixels and become float32. Flags stay
        flags inside a tree, where they are masks.
        """
        moved = mapped(lambda leaf: leaf.to(self.device, non_blocking=True), stored)
        plain = (
            isinstance(self.offset, float) and isinstance(self.scale, float) and (self.offset, self.scale) == (0.0, 1.0)
        )
        if plain and is_tree(moved):
            return mapped(lambda leaf: leaf if leaf.dtype == torch.bool else _plain(leaf), moved)
        return _plain(moved) if plain else (moved.float() - self.offset) / self.scale


def _plain(leaf: Tensor) -> Tensor:
    """Return what needs no offset and scale: (x - 0) / 1 is x to the last bit."""
    if leaf.is_floating_point() or leaf.dtype in (torch.uint8, torch.bool):
        return leaf.float()
    return leaf if leaf.dtype in (torch.int32, torch.int64) else leaf.long()


class Parts(NamedTuple):
    """A data set on the device."""

    train: Examples
    validation: Examples
    test: Examples
    num_classes: int
    input_shape: Any
    """Shape of one example; a tree of shapes where an example is a tree."""


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
    parts = (data.train, data.validation, data.test)
    num_bytes: int = sum(leaf.nbytes for part in parts for leaf in leaves(part.inputs))
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
        inputs, targets = mapped(tensor, part.inputs), tensor(part.targets)
        there = mapped(lambda leaf: leaf.to(device), inputs) if stays else inputs
        return Examples(there, targets.to(device), constant(data.offset), constant(data.scale))

    return Parts(move(data.train), move(data.validation), move(data.test), data.num_classes, data.input_shape)


def some_examples(data: DataSet, number: int) -> tuple[Any, Tensor]:
    """Return network inputs and targets of the first examples of the train part, on the CPU."""
    first = data.train._replace(
        inputs=mapped(lambda leaf: leaf[:number], data.train.inputs), targets=data.train.targets[:number]
    )
    examples = on_device(dataclasses.replace(data, train=first), "cpu").train
    return examples.standardized(), examples.targets

"""A data set on the device: resident, shared by every member that trains there; or, if too large, streamed from the host."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tune_lb.data.dataset import Array, DataSet, Part
from tune_lb.data.mapped import MappedArray
from tune_lb.trees import first_leaf, is_tree, leaves, mapped

RESIDENT_SHARE = 0.5
"""Most of a GPU's free memory that a data set may take: the rest is for networks, and for other trials on the device."""


KEPT = 4
"""Arrays of inputs that are kept for a device: arms may have data of their own."""


@dataclass(frozen=True, eq=False)
class Examples:
    """A part of the data, stored as it was read; `standardized` makes network inputs of it, on the device of the targets.

    all_inputs (N, ...), or a tree of such tensors, lie on the device, or in the host's memory where they would not fit; other
    parts and splits may refer to the same ones. offset and scale: one number, or a tensor on the device that broadcasts against an
    example. rows: (n,) int64 the examples of this part, where the inputs are; None: all.
    """

    all_inputs: Any
    all_targets: Tensor
    offset: float | Tensor
    scale: float | Tensor
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.all_targets if self.rows is None else self.rows)

    @property
    def inputs(self) -> Any:
        """Return the part's own inputs (n, ...) as stored: a copy where rows are chosen."""
        rows = self.rows
        return self.all_inputs if rows is None else mapped(lambda leaf: leaf.index_select(0, rows), self.all_inputs)

    @property
    def targets(self) -> Tensor:
        """Return the part's own targets (n, ...): a copy where rows are chosen."""
        return self.all_targets if self.rows is None else self.all_targets[self.rows]

    @property
    def device(self) -> torch.device:
        """Return where targets are and network inputs arrive."""
        return self.all_targets.device

    @property
    def inputs_device(self) -> torch.device:
        """Return where the inputs lie, and an index is best."""
        found: torch.device = first_leaf(self.all_inputs).device
        return found

    @property
    def is_resident(self) -> bool:
        """Say whether the inputs are on the device."""
        return self.inputs_device == self.device

    def first(self, number: int) -> Examples:
        """Return the first examples."""
        if self.rows is not None:
            return dataclasses.replace(self, rows=self.rows[:number])
        return dataclasses.replace(
            self,
            all_inputs=mapped(lambda leaf: leaf[:number], self.all_inputs),
            all_targets=self.all_targets[:number],
        )

    def rows_at(self, index: Tensor) -> Tensor:
        """Return the rows of all inputs that an index into this part means."""
        return index if self.rows is None else self.rows[index]

    def standardized(self, index: Tensor | slice = slice(None)) -> Any:
        """Return the chosen examples as network inputs: a tensor, or the tree of tensors that an example is.

        An index for streamed inputs is best a tensor of the host: one of the device is waited for.
        """
        if self.rows is not None:
            index = self.rows[index if isinstance(index, slice) else index.to(self.rows.device)]
        return self.standardized_rows(index)

    def standardized_rows(self, rows: Tensor | slice) -> Any:
        """Return network inputs for rows of all inputs, whatever part they are of."""
        if not self.is_resident:
            return self.standardized_values(mapped(lambda leaf: staged(leaf, rows), self.all_inputs))
        # twice as fast as indexing with a tensor
        return self.standardized_values(
            mapped(lambda leaf: leaf[rows] if isinstance(rows, slice) else leaf.index_select(0, rows), self.all_inputs)
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
    return device.type != "cuda" or _num_bytes(data) <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def on_device(data: DataSet, device: torch.device | str, resident: bool | None = None) -> Parts:
    """Return the data set as tensors for a device; on the CPU, and where streamed, they share memory with its arrays.

    resident: whether inputs are copied to the device; None where they fit (see `fits`).
    """
    return OnDevice(device, resident).parts(data)


class OnDevice:
    """Data sets as tensors for a device, on which an array is once, whatever parts and splits refer to it.

    resident: see on_device. The last KEPT arrays of inputs, and what refers to them, are kept.
    """

    def __init__(self, device: torch.device | str, resident: bool | None = None) -> None:
        self.device, self.resident = torch.device(device), resident
        self._kept: dict[int, dict[int, tuple[DataSet, Parts]]] = {}
        """By the number of the train inputs and of the data set, both objects that are kept with their tensors."""
        self._tensors: dict[int, dict[tuple[int, bool], tuple[Array, Tensor]]] = {}

    def parts(self, data: DataSet) -> Parts:
        """Return the parts of a data set; of one that was asked for before, those made then."""
        key = id(first_leaf(data.train.all_inputs))
        splits, tensors = self._kept.pop(key, {}), self._tensors.pop(key, {})
        while len(self._kept) >= KEPT:
            oldest = next(iter(self._kept))
            del self._kept[oldest], self._tensors[oldest]
        self._kept[key], self._tensors[key] = splits, tensors
        if id(data) not in splits:
            splits[id(data)] = (data, self._made(data, tensors))
        return splits[id(data)][1]

    def _made(self, data: DataSet, tensors: dict[tuple[int, bool], tuple[Array, Tensor]]) -> Parts:
        stays = fits(data, self.device) if self.resident is None else self.resident
        if not stays and self.resident is None and fits(own := _apart(data), self.device):
            # few of many examples
            data, stays = own, True

        def tensor(array: Array, *, moved: bool = True) -> Tensor:
            if (id(array), moved) not in tensors:
                with warnings.catch_warnings():
                    # arrays in an object store are read-only; nothing here writes to them, and sharing saves a copy per worker
                    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                    found = torch.from_numpy(array)
                # kept with the array, so that its number stays its own
                tensors[id(array), moved] = (array, found.to(self.device) if moved else found)
            return tensors[id(array), moved][1]

        def constant(value: float | tuple[float, ...], *, divides: bool = False) -> float | Tensor:
            if isinstance(value, tuple):
                return torch.tensor(value, device=self.device).reshape(data.constants_shape)
            # a GPU multiplies by the reciprocal of a number, which differs in the last bit, and divides by a tensor
            by_tensor = divides and value != 1.0 and self.device.type != "cpu"
            return torch.tensor(value, device=self.device) if by_tensor else value

        def examples(part: Part) -> Examples:
            inputs = mapped(lambda leaf: tensor(leaf, moved=stays), part.all_inputs)
            rows = None if part.rows is None else torch.from_numpy(part.rows).to(first_leaf(inputs).device)
            return Examples(
                inputs, tensor(part.all_targets), constant(data.offset), constant(data.scale, divides=True), rows
            )

        return Parts(
            examples(data.train), examples(data.validation), examples(data.test), data.num_classes, data.input_shape
        )


def _num_bytes(data: DataSet) -> int:
    arrays = [leaf for part in (data.train, data.validation, data.test) for leaf in leaves(part.all_inputs)]
    return sum(leaf.nbytes for leaf in {id(leaf): leaf for leaf in arrays}.values())


def _apart(data: DataSet) -> DataSet:
    """Return the data set with the examples of its parts by themselves, without those that no part has."""
    if any(isinstance(leaf, MappedArray) for leaf in leaves(data.train.all_inputs)):
        return data
    return dataclasses.replace(data, train=Part(*data.train), validation=Part(*data.validation), test=Part(*data.test))


def some_examples(data: DataSet, number: int) -> tuple[Any, Tensor]:
    """Return network inputs and targets of the first examples of the train part, on the CPU."""
    examples = on_device(data, "cpu").train.first(number)
    return examples.standardized(), examples.targets

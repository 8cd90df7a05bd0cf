"""What a data set is: three parts, cut reproducibly, and how stored values become network inputs."""

from __future__ import annotations

import contextlib
import dataclasses
import dis
import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from tune_lb.data.conversion import as_array, converted, fitted
from tune_lb.data.mapped import Chosen, MappedArray
from tune_lb.data.part_problems import part_problems
from tune_lb.data.targets import target_kind
from tune_lb.errors import RequestError, user_code
from tune_lb.settings.setting import Settings
from tune_lb.trees import is_tree, leaves, mapped, named_leaves, shapes

Array = npt.NDArray[Any]

HASHED_AT_A_TIME = 4096


class Part:
    """Some labelled examples: all rows of arrays, or chosen ones of arrays that several parts and splits share.

    inputs: (N, ...) as stored: uint8, float32, or whole numbers (tokens); or a tuple or dict of such arrays, for networks that take
    several, module(*inputs) or module(**inputs). targets: (N,) int64 class; (N, ...) int64 a class of each token; (N, ...) float:
    real numbers, or several labels as 0 and 1. rows: (n,) the examples of this part; None: all.
    """

    __slots__ = ("all_inputs", "all_targets", "rows")

    def __init__(self, inputs: Any, targets: Array, rows: Array | None = None) -> None:
        self.all_inputs, self.all_targets, self.rows = inputs, targets, rows

    def __iter__(self) -> Iterator[Any]:
        """Yield inputs and targets."""
        return iter((self.inputs, self.targets))

    def __repr__(self) -> str:
        return f"Part({self.number} examples)"

    @property
    def number(self) -> int:
        """Return how many examples there are."""
        return len(self.all_targets) if self.rows is None else len(self.rows)

    @property
    def inputs(self) -> Any:
        """Return the part's own inputs (n, ...): a copy where rows are chosen; where they lie in a file, a view that reads them."""
        rows = self.rows
        if rows is None:
            return self.all_inputs
        return mapped(lambda leaf: Chosen(leaf, rows) if isinstance(leaf, MappedArray) else leaf[rows], self.all_inputs)

    @property
    def inputs_in_pieces(self) -> Any:
        """Return inputs of which slices are gathered, for passes that need little memory: arrays or Chosen."""
        rows = self.rows
        return self.all_inputs if rows is None else mapped(lambda leaf: Chosen(leaf, rows), self.all_inputs)

    @property
    def targets(self) -> Array:
        """Return the part's own targets (n, ...)."""
        return self.all_targets if self.rows is None else self.all_targets[self.rows]

    @property
    def examples(self) -> Array:
        """Return (n,) the index of each example in the arrays."""
        return np.arange(self.number) if self.rows is None else self.rows

    def first(self, number: int) -> Part:
        """Return the first examples."""
        if self.rows is not None:
            return Part(self.all_inputs, self.all_targets, self.rows[:number])
        return Part(mapped(lambda leaf: leaf[:number], self.all_inputs), self.all_targets[:number])


@dataclass(frozen=True)
class DataSet:
    """A loaded data set: arrays that every trial on a node shares.

    network input = (stored - offset) / scale, in float32. validation may be empty (nothing is selected then).
    offset, scale: one number, or one for each entry of an axis of an example: axis 0 for the channels of (C, H, W) or the
    features of (F,), the last for those of (T, F), None where every entry of an example has its own, in C order.
    num_classes: of real numbers and of several labels, the outputs of the network. Inputs that are a tree (a tuple or dict of
    arrays) are taken as they are, without offset and scale: real numbers become float32, whole numbers stay whole, uint8 becomes
    float32, flags stay flags.
    notes: what was done when it was loaded, one line each, for the plan; no part of the data.
    """

    name: str
    num_classes: int
    train: Part
    validation: Part
    test: Part
    offset: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0
    axis: int | None = 0
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def input_shape(self) -> Any:
        """Return the shape of one example, as (3, 32, 32); a tree of shapes where an example is a tree."""
        return shapes(self.train.all_inputs)

    def standardized(self, stored: Array) -> Array:
        """Return stored examples (N, ...) as network inputs: (stored - offset) / scale in float32, or whole numbers as they are."""
        if self.keeps_whole_numbers or is_tree(stored):
            return stored
        offset, scale = (
            np.asarray(v, dtype=np.float32).reshape(self.constants_shape if isinstance(v, tuple) else ())
            for v in (self.offset, self.scale)
        )
        return ((stored.astype(np.float32) - offset) / scale).reshape(stored.shape)

    @property
    def constants_shape(self) -> tuple[int, ...]:
        """Return the shape in which offset and scale, where they are tuples, broadcast against an example."""
        if self.axis is None:
            return tuple(self.input_shape)
        return tuple(-1 if i == self.axis else 1 for i in range(len(self.input_shape)))

    @property
    def keeps_whole_numbers(self) -> bool:
        """Say whether inputs are whole numbers that reach the network as such: tokens, which no offset or scale is given for.

        uint8 is not among them: bytes are pixels, and become float32.
        """
        if is_tree(self.train.all_inputs):
            return False
        dtype = self.train.all_inputs.dtype
        plain = (self.offset, self.scale) == (0.0, 1.0)
        return plain and np.issubdtype(dtype, np.integer) and dtype != np.uint8

    @functools.cached_property
    def problems(self) -> list[str]:
        """Return what makes the examples unfit for training, one line each: found once, whoever asks."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return [
            f"{self.name}, {name} part: {problem}"
            for name, part in parts.items()
            for problem in part_problems(
                part.inputs, part.targets, self.input_shape, self.num_classes, may_be_empty=name == "validation"
            )
        ] + self._whole_problems()

    def _whole_problems(self) -> list[str]:
        """Say what no part is wrong by itself for."""
        kinds = {name: getattr(self, name).targets for name in ("train", "validation", "test")}
        kinds = {name: targets for name, targets in kinds.items() if len(targets)}
        if len({(target_kind(targets), targets.shape[1:]) for targets in kinds.values()}) > 1:
            told = ", ".join(f"{targets.dtype} {targets.shape} in the {name} part" for name, targets in kinds.items())
            return [f"{self.name}: labels are {told}: they must be of one kind and shape in all parts"]
        if is_tree(self.train.all_inputs) and (self.offset, self.scale) != (0.0, 1.0):
            return [
                f"{self.name}: offset and scale are given for inputs that are a tuple or dict: leave them out, and give arrays "
                "that are standardized"
            ]
        return []

    def fingerprint(self) -> str:
        """Return a hash of everything that training or evaluation can see: of the values, wherever they lie. Computed once."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        axis = "" if self.axis == 0 else f" axis {self.axis}"
        digest = hashlib.sha256(f"{self.name} {self.num_classes} {self.offset} {self.scale}{axis}".encode())
        for part in (self.train, self.validation, self.test):
            inputs = part.inputs_in_pieces
            if is_tree(inputs):
                digest.update(repr(list(named_leaves(inputs))).encode())
            for array in (*leaves(inputs), part.targets):
                digest.update(f"{array.shape}{array.dtype}".encode())
                for start in range(0, len(array), HASHED_AT_A_TIME):
                    digest.update(np.ascontiguousarray(array[start : start + HASHED_AT_A_TIME]).data)
        return digest.hexdigest()[:16]


class Whole(Protocol):
    """Data that lie in memory once, all splits of which are indices into them."""

    def split(self, split_seed: int) -> DataSet:
        """Return the parts of one split: of the same arrays, whatever the seed."""


@dataclass(frozen=True)
class DataSource(Settings):
    """Base of all data sets as a space names them.

    `load` of a class of yours may return a DataSet, or three parts in whatever holds them: see tune_lb.data.conversion. Whoever
    calls it gets a DataSet, or one line that says what is wrong: what it raises is a RequestError with the place in your file.
    """

    is_excerpt: ClassVar[bool] = False
    """Whether it is a few examples of another data set, for a smoke run: no training on it has a length that means anything."""

    def load(self, split_seed: int) -> DataSet:
        """Return the data, cut by the split seed. Raises RequestError if files are missing or the cut is impossible."""
        raise RequestError(
            f"{type(self).__name__} does not say how it is loaded: give it a method load(self, split_seed)"
        )

    def has_own_test_split(self) -> bool:
        """Say whether the test part is the publisher's: then it does not change with the split seed."""
        return True

    def can_be_cut(self) -> bool:
        """Say whether another split seed gives other parts. By default: whether `load` looks at its split seed at all."""
        return _looks_at_its_seed(type(self).load)

    def whole(self) -> Whole | None:
        """Return the data uncut, where splits of them are indices; None where every split is loaded by itself."""
        return None

    def located(self) -> Self:
        """Return the same data named so that they are found from anywhere on this machine."""
        return self

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if "load" in vars(cls):
            cls.load = _answering(cls.load)  # type: ignore[method-assign, assignment]


def _looks_at_its_seed(load: Any) -> bool:
    code = getattr(inspect.unwrap(load), "__code__", None)
    if code is None or code.co_argcount < 2:
        return True
    name = code.co_varnames[1]
    # two names are one instruction in later versions of Python
    return any(
        i.argval == name or (isinstance(i.argval, tuple) and name in i.argval) for i in dis.get_instructions(code)
    )


def _answering(load: Callable[[Any, int], Any]) -> Callable[[Any, int], DataSet]:
    """Return a `load` whose result is a DataSet, whatever it returns, and whose exceptions are RequestErrors."""

    ours = load.__module__.startswith("tune_lb.")

    @functools.wraps(load)
    def answering(self: DataSource, split_seed: int) -> DataSet:
        where = f"{type(self).__name__}.load"
        # what ours raises beside a RequestError is a mistake of ours, to be seen whole
        with contextlib.nullcontext() if ours else user_code(where, made_by=load):
            return as_data_set(load(self, split_seed), type(self).__name__, where)

    return answering


def as_data_set(returned: Any, name: str, where: str) -> DataSet:
    """Return a DataSet of arrays as torch takes them, for what a `load` returned. Raises RequestError where it cannot be one."""
    if not isinstance(returned, DataSet):
        parts, num_classes, notes = converted(returned, where)
        train, validation, test = (Part(*part) for part in parts)
        return DataSet(name, num_classes, train, validation, test, notes=notes)
    given = {part: getattr(returned, part) for part in ("train", "validation", "test")}
    arrays, notes = fitted(given, where)
    changes: dict[str, Any] = {
        name: Part(arrays[name][0], arrays[name][1], part.rows if isinstance(part, Part) else None)
        for name, part in given.items()
        if not isinstance(part, Part)
        or arrays[name][0] is not part.all_inputs
        or arrays[name][1] is not part.all_targets
    }
    for constant in ("offset", "scale"):
        value = getattr(returned, constant)
        if not isinstance(value, float | int | tuple):
            value = as_array(value, f"{where}, {constant}") if np.ndim(value) else float(value)
            changes[constant] = value if isinstance(value, float) else tuple(map(float, value.reshape(-1)))
    return dataclasses.replace(returned, **changes, notes=(*returned.notes, *notes)) if changes else returned


def stratified(targets: Array, sizes: tuple[int, ...], seed: int, name: str) -> list[Array]:
    """Return disjoint index arrays of the given sizes, each with the classes in the proportions of the whole.

    Sizes are met exactly; a class is off its share by about one example.
    """
    total = sum(sizes)
    if total > len(targets):
        raise RequestError(f"{name}: {' + '.join(map(str, sizes))} examples asked for, there are {len(targets)}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(targets))
    # a stable sort by the rank of an example inside its class interleaves the classes in proportion
    counts = np.bincount(targets)
    rank = np.empty(len(targets))
    for label in range(len(counts)):
        members = order[targets[order] == label]
        rank[members] = (np.arange(len(members)) + rng.random()) / max(1, len(members))
    dealt = np.argsort(rank, kind="stable")
    ends = np.cumsum(sizes)
    return [np.sort(dealt[end - size : end]) for size, end in zip(sizes, ends, strict=True)]

"""Data sets with a test part of their own: what was published, and how train and validation are cut from it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tune_lb.data.dataset import Array, DataSet, DataSource, Part, stratified
from tune_lb.data.large_inputs import in_files, in_one_file
from tune_lb.data.part_problems import part_problems
from tune_lb.data.places import data_root
from tune_lb.data.standardization import AUTO, standardization
from tune_lb.errors import RequestError
from tune_lb.settings.setting import setting


class Published(NamedTuple):
    """A data set as it was published, or as the files hold it."""

    name: str
    num_classes: int
    train: Part
    test: Part | None
    """None: there is none, it is cut from the train part too."""
    offset: float | tuple[float, ...] | None = None
    """None: mean and standard deviation of every channel or feature of the examples chosen to train on."""
    scale: float | tuple[float, ...] | None = None
    validation: Part | None = None
    """None: there is none, it is cut from the train part."""
    kind: str = "images"
    """Of the inputs: "images" or "features"."""
    standardize: str | None = AUTO
    """How offset and scale are found where they are None."""
    notes: tuple[str, ...] = ()
    """What was done when it was read, one line each."""


RANGES = {"unit": 255.0, "raw": 1.0}
"""What pixels are divided by where they are not standardized."""

PIXELS = ("standardized", *RANGES)


@dataclass(frozen=True)
class PublishedSource(DataSource):
    """Base of the data sets with a test part of their own.

    The split seed draws train and validation from the published train part, by class; the test part is used whole.
    """

    num_train: int | None = setting(None, "examples to train on; none: all that validation leaves", low=1)
    num_validation: int = setting(0, "examples that selection sees", low=0)
    pixels: str = setting(
        "standardized",
        "network inputs: standardized by mean and deviation of the train pixels, of unit range (pixel / 255), or raw (0 .. 255)",
        one_of=PIXELS,
        added_later=True,
    )

    def read(self, root: Path) -> Published:
        """Return the whole data set from its files under root. Raises RequestError where they are missing or damaged."""
        raise TypeError(f"{type(self).__name__} does not say how it is read")

    def whole(self) -> PublishedWhole:
        """Return the data set uncut: read once in this process."""
        root = data_root()
        read = read_once((type(self), *self.identity(), root), lambda: self.read(root), "")
        if self.pixels in RANGES:
            read = read._replace(offset=0.0, scale=RANGES[self.pixels])
        return PublishedWhole(read, self.num_train, self.num_validation, 0)

    def load(self, split_seed: int) -> DataSet:
        """Return the three parts of this cut."""
        return self.whole().split(split_seed)

    def can_be_cut(self) -> bool:
        """Say whether train and validation parts are drawn: not where all examples are trained on."""
        return self.num_validation > 0 or self.num_train is not None

    def identity(self) -> tuple[Hashable, ...]:
        """Return what of the fields decides which files are read."""
        return ()


@dataclass(frozen=True, eq=False)
class PublishedWhole:
    """A data set in memory, and the sizes of the parts that are drawn from its train part: in its class proportions, or at
    random where targets are no classes. No split copies anything.

    num_train: None for all that the others leave. where: what messages call the data.
    """

    read: Published
    num_train: int | None
    num_validation: int
    num_test: int
    where: str = ""

    def split(self, split_seed: int) -> DataSet:
        """Return the parts of one split. Raises RequestError where there are too few examples."""
        whole, where = self.read, self.where or self.read.name
        stored, chosen = whole.train, self._rows(split_seed)
        train, validation, test = (
            Part(stored.all_inputs, stored.all_targets, None if len(rows) == stored.number else rows) for rows in chosen
        )
        notes = whole.notes
        if whole.offset is None or whole.scale is None:
            done = standardization(train.inputs_in_pieces, whole.standardize, whole.kind, where)
            offset, scale, axis, notes = done.offset, done.scale, done.axis, (*notes, done.said)
        else:
            offset, scale, axis = whole.offset, whole.scale, 0
        validation, test = whole.validation or validation, whole.test or test
        return DataSet(whole.name, whole.num_classes, train, validation, test, offset, scale, axis, notes)

    def _rows(self, split_seed: int) -> list[Array]:
        whole, targets = self.read, self.read.train.targets
        rest = len(targets) - self.num_validation - self.num_test
        if self.num_train is None and rest < 1:
            raise RequestError(
                f"{whole.name}: num_validation = {self.num_validation}"
                + (f" and num_test = {self.num_test}" if self.num_test else "")
                + f" leave nothing of {len(targets)} examples to train on"
            )
        sizes = (rest if self.num_train is None else self.num_train, self.num_validation, self.num_test)
        classes = targets if targets.ndim == 1 and targets.dtype.kind in "iu" else np.zeros(len(targets), np.int64)
        part = " train part" if whole.test is not None else ""
        return stratified(classes, sizes, split_seed, f"{whole.name}{part}")


def _sound(whole: Published, where: str) -> Published:
    """Return data with inputs that are larger than memory in one file. Raises RequestError for bad examples: numbered as they are
    stored, which they no longer are once cut.
    """
    where = where or whole.name
    shape = tuple(whole.train.all_inputs.shape[1:])
    found = part_problems(whole.train.inputs, whole.train.targets, shape, whole.num_classes, may_be_empty=False)
    if found:
        part = "" if whole.test is None else ", train part"
        raise RequestError([f"{where}{part}: {problem}" for problem in found])
    train, validation, test = (
        Part(in_one_file(part.all_inputs, f"{where}{which}"), part.targets)
        if part is not None and in_files(part.all_inputs)
        else part
        for part, which in ((whole.train, ""), (whole.validation, ", validation part"), (whole.test, ", test part"))
    )
    return whole._replace(train=train or whole.train, validation=validation, test=test)


KEPT = 4
"""Data sets that a process keeps whole: arms may have data of their own."""

_last: dict[Hashable, Published] = {}


def read_once(key: Hashable, read: Callable[[], Published], where: str) -> Published:
    """Return what was read for the key before, in this process, or read and check it: all splits share one reading.

    The last KEPT data sets are kept. Files are not expected to change while a process works with them. where: what messages call
    the data.
    """
    whole = _last.pop(key, None)
    if whole is None:
        whole = _sound(read(), where)
        while len(_last) >= KEPT:
            del _last[next(iter(_last))]
    _last[key] = whole
    return whole

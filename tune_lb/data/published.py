"""Data sets with a test part of their own: what was published, and how train and validation are cut from it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tune_lb.data.dataset import Array, DataSet, DataSource, Part, data_root, part_problems, stratified
from tune_lb.data.parts_in_files import cut_into_files, in_files
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


@dataclass(frozen=True)
class PublishedSource(DataSource):
    """Base of the data sets with a test part of their own.

    The split seed draws train and validation from the published train part, by class; the test part is used whole.
    """

    num_train: int | None = setting(None, "examples to train on; none: all that validation leaves", low=1)
    num_validation: int = setting(0, "examples that selection sees", low=0)

    def read(self, root: Path) -> Published:
        """Return the whole data set from its files under root. Raises RequestError where they are missing or damaged."""
        raise TypeError(f"{type(self).__name__} does not say how it is read")

    def load(self, split_seed: int) -> DataSet:
        """Return the three parts of this cut."""
        root = data_root()
        whole = read_once((type(self), *self.identity(), root), lambda: self.read(root))
        return cut(whole, self.num_train, self.num_validation, 0, split_seed)

    def identity(self) -> tuple[Hashable, ...]:
        """Return what of the fields decides which files are read."""
        return ()


def cut(
    whole: Published, num_train: int | None, num_validation: int, num_test: int, split_seed: int, where: str = ""
) -> DataSet:
    """Return train, validation and (if num_test) test part drawn from the published train part: in its class proportions,
    or at random where targets are no classes.

    num_train: None for all that the others leave. where: what messages call the data. Raises RequestError where there are too
    few examples, or bad ones: numbered as in the files, which they no longer are once cut.
    """
    targets = whole.train.targets
    shape = tuple(whole.train.inputs.shape[1:])
    found = part_problems(whole.train, shape, whole.num_classes, may_be_empty=False)
    if found:
        part = "" if whole.test is None else ", train part"
        raise RequestError([f"{where or whole.name}{part}: {problem}" for problem in found])
    rest = len(targets) - num_validation - num_test
    if num_train is None and rest < 1:
        raise RequestError(
            f"{whole.name}: num_validation = {num_validation}"
            + (f" and num_test = {num_test}" if num_test else "")
            + f" leave nothing of {len(targets)} examples to train on"
        )
    sizes = (rest if num_train is None else num_train, num_validation, num_test)
    classes = targets if targets.ndim == 1 and targets.dtype.kind in "iu" else np.zeros(len(targets), np.int64)
    chosen = stratified(classes, sizes, split_seed, f"{whole.name} train part")
    train, validation, test = _parts(whole.train, chosen, where or whole.name)
    notes = whole.notes
    if whole.offset is None or whole.scale is None:
        done = standardization(train.inputs, whole.standardize, whole.kind, where or whole.name)
        offset, scale, axis, notes = done.offset, done.scale, done.axis, (*notes, done.said)
    else:
        offset, scale, axis = whole.offset, whole.scale, 0
    if whole.validation is not None:
        validation = _whole(whole.validation, f"{where}, validation part")
    if whole.test is not None:
        test = _whole(whole.test, f"{where}, test part")
    return DataSet(whole.name, whole.num_classes, train, validation, test, offset, scale, axis, notes)


def _whole(part: Part, where: str) -> Part:
    return _parts(part, [np.arange(len(part.targets))], where)[0]


def _parts(part: Part, chosen: Sequence[Array], where: str) -> list[Part]:
    """Return the rows that each sorted index array chooses, in files where the whole is in one; the whole itself is no copy."""
    if in_files(part.inputs):
        inputs = cut_into_files(part.inputs, chosen, where)
    else:
        inputs = [part.inputs if len(rows) == len(part.inputs) else part.inputs[rows] for rows in chosen]
    return [Part(array, part.targets[rows]) for array, rows in zip(inputs, chosen, strict=True)]


_last: dict[Hashable, Published] = {}


def read_once(key: Hashable, read: Callable[[], Published]) -> Published:
    """Return what was read for the key before, in this process, or read it: several splits share one reading.

    One data set is kept. Files are not expected to change while a process works with them.
    """
    if key not in _last:
        whole = read()
        _last.clear()
        _last[key] = whole
    return _last[key]

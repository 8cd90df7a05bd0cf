"""Data of the user's own that a path names: where they lie, and which of their parts the files hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tune_lb.data.dataset import DataSet, DataSource
from tune_lb.data.places import candidates, data_root, folder_of_space
from tune_lb.data.published import Published, PublishedWhole, read_once
from tune_lb.errors import RequestError
from tune_lb.settings.setting import setting

TRAIN, VALIDATION, TEST = "train", "validation", "test"
WORDS = {TRAIN: ("train", "training"), VALIDATION: ("val", "valid", "validation", "dev"), TEST: ("test", "testing")}
"""Names of files, folders and prefixes of arrays that hold a part."""


@dataclass(frozen=True)
class OwnData(DataSource):
    """Base of data sets that a path names.

    Parts that the files hold are used as they are: a validation part of one's own is what selection sees, and nothing is cut from
    the train part then. What they do not hold the split seed draws from the train part, by class.
    """

    path: str = setting("", "folder or file: absolute, beside the space file or under TUNE_LB_DATA")
    num_train: int | None = setting(None, "examples to train on; none: all that the other parts leave", low=1)
    num_validation: int = setting(0, "examples that selection sees", low=0)
    num_test: int | None = setting(None, "examples of the test part where the files have none; none: a quarter", low=1)

    def problems(self, where: str = "") -> list[str]:
        """Also refuse an empty path."""
        empty = [] if self.path else [f"{where or type(self).__name__}.path is empty: name the folder or file"]
        return super().problems(where) + empty

    def __post_init__(self) -> None:
        # where the space lies is no part of what the data are: no field, so neither equality nor identity sees it
        object.__setattr__(self, "_beside", folder_of_space())

    @property
    def places(self) -> list[Path]:
        """Return where the path may lie, the first place first."""
        return candidates(self.path, data_root(), getattr(self, "_beside", None))

    @property
    def place(self) -> Path:
        """Return the path in full: the first of its places where there is something, else the last."""
        places = self.places
        return next((place for place in places if place.exists()), places[-1])

    def located(self) -> Self:
        """Return the data with their path in full where they lie beside a space file."""
        beside = self.place.exists() and self.place != data_root() / Path(self.path).expanduser()
        return dataclasses.replace(self, path=str(self.place)) if beside else self

    def read(self) -> Published:
        """Return what the files hold. Raises RequestError where they are missing or damaged."""
        raise TypeError(f"{type(self).__name__} does not say how it is read")

    def check_place(self) -> None:
        """Raise RequestError, naming every place that was looked at, where there is nothing."""
        if not self.place.exists():
            looked = " and no ".join(map(str, self.places))
            raise RequestError(
                f"{type(self).__name__}: there is no {looked} (TUNE_LB_DATA = {data_root()}): give an absolute path, or put "
                "the data beside the space file"
            )

    def own_parts(self) -> Collection[str]:
        """Return which parts the files hold. Raises RequestError where two stand for one."""
        raise TypeError(f"{type(self).__name__} does not say which parts there are")

    def has_own_test_split(self) -> bool:
        """Say whether there is a test part."""
        return self.place.exists() and TEST in self.own_parts()

    def can_be_cut(self) -> bool:
        """Say whether anything is drawn from the train part: not where all parts are the user's."""
        if self.num_train is not None or not self.place.exists():
            return True
        own = self.own_parts()
        return TEST not in own or (VALIDATION not in own and self.num_validation > 0)

    def whole(self) -> PublishedWhole:
        """Return the data uncut: read once in this process."""
        self.check_place()
        whole = read_once((self, self.place), self.read, str(self.place))
        own_test, own_validation = whole.test is not None, whole.validation is not None
        contradictions = [
            f"{name} = {value}: {self.place} has a {part} part of its own; leave {name} out"
            for name, value, part, is_own in (
                ("num_test", self.num_test, TEST, own_test),
                ("num_validation", self.num_validation, VALIDATION, own_validation),
            )
            if is_own and value
        ]
        if contradictions:
            raise RequestError(contradictions)
        num_test = 0 if own_test else self.num_test or whole.train.number // 4
        return PublishedWhole(whole, self.num_train, self.num_validation, num_test, str(self.place))

    def load(self, split_seed: int) -> DataSet:
        """Return the three parts of this cut."""
        return self.whole().split(split_seed)


def parts_among(names: Iterable[str], place: Path) -> dict[str, str]:
    """Return which of the names stands for which part; raise RequestError where two stand for one."""
    found = {}
    names = set(names)
    for part, words in WORDS.items():
        there = [word for word in words if word in names]
        if len(there) > 1:
            raise RequestError(
                f"{place} holds {' and '.join(there)}: which of them is the {part} part? Rename the other"
            )
        if there:
            found[part] = there[0]
    return found


def said_of_parts(names: Mapping[str, str], unread: Iterable[str]) -> list[str]:
    """Return what is said of where the parts come from."""
    own = [f"the {part} part is {name}" for part, name in names.items() if part != TRAIN]
    cut = [part for part in (VALIDATION, TEST) if part not in names]
    plural = "are" if len(cut) > 1 else "is"
    said = [*own, *([f"{' and '.join(cut)} {plural} cut from the train part"] if cut else [])]
    unread = list(unread)
    return ["; ".join(said), *([f"not read: {', '.join(unread)}"] if unread else [])]

"""The splits of a data set, each made when it is first asked for: where that can be, as an index into data in memory once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tune_lb.data.dataset import DataSet, DataSource, Whole
from tune_lb.errors import user_code
from tune_lb.settings.identity import describe

KEPT = 4
"""Splits of a source's own `load` that are kept: each has its examples for itself."""


class Splits(Mapping[int, DataSet]):
    """The splits of a source by their seeds; as a mapping, those that were asked for.

    It travels to workers with the whole data, from which they make the splits that they need: indices, and constants. Splits
    that a `load` of the user's gives travel where they are kept, and are else loaded anew.
    """

    def __init__(self, source: DataSource) -> None:
        self.source = source
        self._asked: dict[int, None] = {}
        self._made: dict[int, DataSet] = {}
        self._whole: Whole | None = None
        # a class of the user's that has a `load` of its own may do anything in it
        self._is_ours = type(source).load.__module__.startswith("tune_lb.")

    def __getitem__(self, split_seed: int) -> DataSet:
        """Return a split. Raises RequestError where it cannot be made."""
        self._asked.setdefault(split_seed)
        found = self._made.pop(split_seed, None)
        if found is None:
            found = self._split(split_seed)
            while self._whole is None and len(self._made) >= KEPT:
                del self._made[next(iter(self._made))]
        self._made[split_seed] = found
        return found

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._asked))

    def __len__(self) -> int:
        return len(self._asked)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | ({} if self._whole is None else {"_made": {}})

    def _split(self, split_seed: int) -> DataSet:
        if self._whole is not None:
            return self._whole.split(split_seed)
        with user_code(f"data {describe(self.source)}", made_by=self.source.load):
            if self._is_ours and (whole := self.source.whole()) is not None:
                self._whole = whole
                return whole.split(split_seed)
            return self.source.load(split_seed)

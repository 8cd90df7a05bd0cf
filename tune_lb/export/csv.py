"""CSV: members.csv, a row for each member with all columns; history.csv, a row for each value; columns.csv, what columns are."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tune_lb.export.exported import Exported
from tune_lb.results.columns import HISTORY


class CSV:
    """Writes tables into a folder; at the end, and whole: what was there is replaced.

    described: (name, role, description) of each column.
    """

    def __init__(self, folder: Path, described: Sequence[tuple[str, str, str]]) -> None:
        self.folder, self.described = folder, described
        self.members: list[Exported] = []

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.folder)

    def write(self, members: Sequence[Exported]) -> None:
        """Take in members."""
        self.members += members

    def close(self) -> int:
        """Write the tables."""
        self.folder.mkdir(parents=True, exist_ok=True)
        columns = [name for name, _, _ in self.described]
        _table(self.folder / "members.csv", columns, ([m.row.get(name) for name in columns] for m in self.members))
        values = (
            [*member.key, point.step, point.epoch, point.wall_s, point.name, point.value]
            for member in self.members
            for point in member.history
        )
        _table(self.folder / "history.csv", [column.name for column in HISTORY], values)
        _table(self.folder / "columns.csv", ["name", "role", "description"], self.described)
        return len(self.members)


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    with hidden.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    hidden.replace(path)

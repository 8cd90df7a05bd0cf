"""What is handed to other programs of each member: plain names, numbers and texts, read from the files of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from tune_lb.errors import RequestError
from tune_lb.results.code_versions import counts
from tune_lb.results.columns import FINISHED, roles_of
from tune_lb.results.merger import Merger, trial_stems
from tune_lb.results.run_files import read_history, read_members, read_space
from tune_lb.results.stopped import loss_columns, waiting
from tune_lb.results.storage import Store
from tune_lb.results.tables import decode_table

Row = Mapping[str, Any]
Key = tuple[str, int]

PARAMETERS = ("setting", "protocol", "provenance")
"""Roles of the columns that say how a member was made."""
STOPPED_AT = "stopped_at"
"""A column that members have where some are stopped early."""
RESULTS = ("outcome", "metric", "cost")
"""Roles of the columns that say what came of it."""


@dataclass(frozen=True)
class Point:
    """One value of a member's history. time_s: seconds since 1970."""

    name: str
    step: int
    epoch: float | None
    wall_s: float | None
    time_s: float
    value: float


@dataclass(frozen=True)
class Exported:
    """A member that is there for good.

    parameters: what it was made with; results: the numbers that came of it; texts: what is no number. Nulls are left out.
    """

    row: Row
    parameters: dict[str, Any]
    results: dict[str, float]
    texts: dict[str, str]
    history: list[Point]
    began_s: float
    ended_s: float

    @property
    def key(self) -> Key:
        """(trial_id, seed), which names it within the run."""
        return str(self.row["trial_id"]), int(self.row["seed"])

    @property
    def name(self) -> str:
        """Its name, which is that of a file and a path nowhere: rows of a file may hold anything."""
        return plain_name(f"{self.row['trial_id']}.{self.row['seed']}")

    @property
    def group(self) -> str:
        """Arm and stage, as a name."""
        return plain_name(f"{self.row['arm']}.{self.row['stage']}")


class Writer(Protocol):
    """What writes members for another program. None is written twice, whatever was killed before."""

    @property
    def place(self) -> str:
        """Where they are written, for people."""

    def write(self, members: Sequence[Exported]) -> None:
        """Write those of the members that are not there yet, or take them in."""

    def close(self) -> int:
        """End, with everything written; return how many members (or configurations) were not there before."""


class Feed:
    """The members of a run as they come: each once."""

    def __init__(self, store: Store) -> None:
        self.store, self.merger = store, Merger(store)
        self.given: set[Key] = set()

    def new(self, awaited: Callable[[Row], bool] = lambda row: False) -> list[Exported]:
        """Return the members that came since the last call. awaited: of a row, whether what is measured of it is still to come."""
        copied = not trial_stems(self.store)
        if copied:
            table, _ = read_members(self.store)
        else:
            self.merger.add_new()
            table = self.merger.table()
        roles, versions = roles_of(table.schema), read_space(self.store).get("code", {})
        # a row of a hundred columns is made only once
        every = zip(table["trial_id"].to_pylist(), table["seed"].to_pylist(), strict=True)
        places = [place for place, key in enumerate(every) if key not in self.given]
        if not places:
            return []
        new = table.take(places).to_pylist()
        open_keys = waiting(table.select(_of_looks(table.schema.names)).to_pylist()) if STOPPED_AT in roles else set()
        rows = [
            row
            for row in new
            if row["status"] in FINISHED
            and counts(row, versions)
            and (row["trial_id"], row["seed"]) not in open_keys
            and not awaited(row)
        ]
        keys = {(row["trial_id"], row["seed"]) for row in rows}
        self.given |= keys
        history = self._history(keys, copied)
        return [_exported(row, roles, history.get((row["trial_id"], row["seed"]), [])) for row in rows]

    def _history(self, keys: set[Key], copied: bool) -> dict[Key, list[Row]]:
        """Return the history of these members; a damaged file is none, as everywhere: the search trains them again."""
        found: dict[Key, list[Row]] = {}
        for table in self._tables(keys, copied) if keys else ():
            for row in table.to_pylist():
                key = row["trial_id"], row["seed"]
                if key in keys:
                    found.setdefault(key, []).append(row)
        return found

    def _tables(self, keys: set[Key], copied: bool) -> Iterator[Any]:
        if copied:
            yield read_history(self.store)[0]
            return
        trials = self.store.child("trials")
        for stem in sorted(self.merger.stems_of(keys)):
            try:
                yield decode_table(trials.read(f"{stem}.history.parquet"))
            except RequestError:
                continue


def _of_looks(names: Sequence[str]) -> list[str]:
    """Return the columns that say how far members of a search that stops some early came."""
    return ["arm", "stage", "status", "trial_id", "seed", *loss_columns(names)]


def plain_name(text: str) -> str:
    """Return a text as one part of a path that leads nowhere else: letters, digits, _, - and dots, none of them first."""
    return re.sub(r"^\.+", "_", re.sub(r"[^\w.-]", "_", text)) or "_"


def series_name(name: str) -> str:
    """Return the name of a column as other programs take it: train_loss@ema is train_loss_at_ema."""
    return name.replace("@", "_at_")


def _exported(row: Row, roles: Mapping[str, str], history: Sequence[Row]) -> Exported:
    there = {name: value for name, value in row.items() if value is not None}
    results = {name: float(value) for name, value in there.items() if roles[name] in RESULTS and _is_number(value)}
    texts = {name: str(value) for name, value in there.items() if roles[name] in RESULTS and name not in results}
    parameters = {name: value for name, value in there.items() if roles[name] in PARAMETERS}
    ended_s = _seconds(there.get("finished_at"))
    began_s = ended_s - float(there.get("wall_s") or 0.0)
    points = [
        Point(
            str(entry["name"]),
            int(entry["step"]),
            entry["epoch"],
            entry["wall_s"],
            began_s + float(entry["wall_s"] or 0.0),
            float(entry["value"]),
        )
        for entry in history
        if entry["value"] is not None
    ]
    return Exported(row, parameters, results, texts, points, began_s, ended_s)


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Return the values that are finite: what other programs take."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _seconds(time: Any) -> float:
    """Return seconds since 1970 of an ISO time, UTC where it does not say; 0 for none."""
    if not isinstance(time, str):
        return 0.0
    then = datetime.fromisoformat(time)
    return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()

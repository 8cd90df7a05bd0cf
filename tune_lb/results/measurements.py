"""What was measured on members after they were trained, as files of their own that never touch those of the trials.

measurements/<stem>.measured.parquet: what the space's metrics say of the members of one job, stem that of its trial's files; a
row for each, with trial_id, seed and the metrics' columns. measurements/<trial_id>.<seed>.<metric>.parquet: one row with what
`tune-lb measure` found later. Merged into the members, the later stands in place of the earlier.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa

from tune_lb.errors import RequestError
from tune_lb.results.columns import Column, table_schema
from tune_lb.results.locations import reason_of
from tune_lb.results.storage import Store
from tune_lb.results.tables import decode_table, encode_table, to_table

_KEY: Final = (
    Column("trial_id", "str", "trial of the member", required=True),
    Column("seed", "int", "seed of the member", required=True),
)
_SUFFIX: Final = ".parquet"
_OF_JOB: Final = ".measured.parquet"


class Measurements:
    """The measurements of a run, read as they come.

    problems: one line per file that the last call of add_new could not use; the next one tries it again.
    """

    def __init__(self, store: Store) -> None:
        self.store = store.child("measurements")
        self.problems: list[str] = []
        self._fields: dict[str, pa.Field] = {}
        self._values: dict[str, dict[tuple[str, int], Any]] = {}
        self._read: set[str] = set()

    def add_new(self) -> int:
        """Read the files that came since the last call; return how many could be used."""
        fresh = [name for name in self.store.list(suffix=_SUFFIX) if name not in self._read]
        self.problems = []
        # what was measured later stands in place of what the job itself measured
        fresh.sort(key=lambda name: not name.endswith(_OF_JOB))
        before = len(self._read)
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8) if self.store.is_local else 32) as threads:
            for name, found in zip(fresh, threads.map(self._decoded, fresh), strict=True):
                problem = found if isinstance(found, str) else self._add(found)
                if problem:
                    self.problems.append(f"results: measurements/{name} is left out: {problem}")
                else:
                    self._read.add(name)
        return len(self._read) - before

    def joined(self, members: pa.Table) -> pa.Table:
        """Return the members with the measured columns; a value measured here stands in place of one from training."""
        keys = list(zip(members["trial_id"].to_pylist(), members["seed"].to_pylist(), strict=True))
        for name, field in self._fields.items():
            values, at = self._values[name], members.schema.get_field_index(name)
            if at < 0:
                column = pa.array([values.get(key) for key in keys], field.type)
                members = members.append_column(field, column)
                continue
            known = members.schema.field(at)
            own = members.column(at).to_pylist()
            typed = known if _any(own) else known.with_type(field.type)
            if {typed.type, field.type} == {pa.int64(), pa.float64()}:
                typed = known.with_type(pa.float64())
            elif typed.type != field.type and _any(values.values()):
                line = f"results: measurements of {name} are left out: {field.type} here, {known.type} there"
                self.problems += [] if line in self.problems else [line]
                continue
            found = [values.get(key, value) for key, value in zip(keys, own, strict=True)]
            members = members.set_column(at, typed, pa.array(found, typed.type))
        return members

    def _decoded(self, name: str) -> pa.Table | str:
        try:
            table = decode_table(self.store.read(name))
        except RequestError as error:
            return reason_of(error)
        missing = [column.name for column in _KEY if column.name not in table.schema.names]
        return f"column {missing[0]} is missing" if missing else table

    def _add(self, table: pa.Table) -> str:
        fields = [field for field in table.schema if field.name not in ("trial_id", "seed")]
        for field in fields:
            known = self._fields.get(field.name, field)
            if known.type == field.type or not _any(table[field.name].to_pylist()):
                continue
            if not _any(self._values[field.name].values()):
                self._fields[field.name] = field
            elif {known.type, field.type} == {pa.int64(), pa.float64()}:
                self._fields[field.name] = known.with_type(pa.float64())
            else:
                return f"column {field.name} is of type {field.type} here and {known.type} elsewhere"
        keys = list(zip(table["trial_id"].to_pylist(), table["seed"].to_pylist(), strict=True))
        for field in fields:
            self._fields.setdefault(field.name, field)
            self._values.setdefault(field.name, {}).update(zip(keys, table[field.name].to_pylist(), strict=True))
        return ""


def _any(values: Iterable[Any]) -> bool:
    return any(value is not None for value in values)


def write_measurement(
    store: Store, trial_id: str, seed: int, metric: str, columns: Iterable[Column], row: Mapping[str, Any]
) -> None:
    """Store what a metric found on a member: whole or not at all, in place of an earlier one of that name.

    store: the run's folder. metric: the name of the file; columns, row: what stands in it beside trial_id and seed.
    """
    schema = table_schema("measurements", [*_KEY, *columns])
    table = to_table(schema, [{"trial_id": trial_id, "seed": seed, **row}], "measurements")
    store.child("measurements").write(f"{trial_id}.{seed}.{metric}{_SUFFIX}", encode_table(table))


def write_measurements(store: Store, stem: str, columns: Iterable[Column], rows: Sequence[Mapping[str, Any]]) -> None:
    """Store what the metrics found on all members of one job: whole or not at all. rows: with trial_id and seed."""
    table = to_table(table_schema("measurements", [*_KEY, *columns]), rows, "measurements")
    store.child("measurements").write(f"{stem}{_OF_JOB}", encode_table(table))

"""Many small files, one table: the merged view of a run's trials."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tune_lb.errors import RequestError
from tune_lb.results.columns import HISTORY, MEMBERS, PREDICTIONS, members_schema, table_schema
from tune_lb.results.locations import reason_of
from tune_lb.results.measurements import Measurements
from tune_lb.results.storage import Store
from tune_lb.results.tables import decode_table, encode_table

HISTORY_SCHEMA: Final = table_schema("history", HISTORY)
PREDICTIONS_SCHEMA: Final = table_schema("predictions", PREDICTIONS)

_VIEWS: Final = {"history": HISTORY_SCHEMA, "predictions": PREDICTIONS_SCHEMA}
_COLUMNS: Final = {"members": MEMBERS, "history": HISTORY, "predictions": PREDICTIONS}

# In the merger's own table: the file that a row came from. No field or metric can have such a name.
_STEM: Final = "(stem)"

_STOPPED: Final = "stopped"
"""Status of members of a search that are looked at on their way: they may go on."""

_BATCH: Final = 256


@dataclass(frozen=True)
class Merge:
    """What a merge found: members in the view, and one line per file or duplicate that was left out."""

    num_members: int
    problems: tuple[str, ...]


class Merger:
    """The merged view of a run, brought up to date at the cost of what is new.

    store: the run's folder. schema: members_schema(...) of the space; columns that only files have come after its own.
    Memory: the members, about 1 kB each; history and predictions are not kept.
    A member that two files hold counts once: the one that finished first, then the one of the first file name. One that was stopped
    at a look of its search and went on has a file for each: the last one counts.
    """

    def __init__(self, store: Store, schema: pa.Schema | None = None) -> None:
        self.store = store
        self._unusable: list[str] = []
        self._stems: set[str] = set()
        self._schema: pa.Schema = members_schema() if schema is None else schema
        self._rows: pa.Table = _with_stem(self._schema).empty_table()
        self._duplicates: list[dict[str, Any]] = []
        self._superseded: list[dict[str, Any]] = []
        """Rows of members that went on since."""
        self._is_written = False
        self._measurements = Measurements(store)

    @property
    def problems(self) -> list[str]:
        """One line per members file that could not be used (the next add_new tries it again) and per duplicate."""
        again = [f"results: {row[_STEM]}: seed {row['seed']} is in another file as well" for row in self._duplicates]
        duplicates = [f"{line}; the one that finished first counts" for line in again]
        return self._unusable + duplicates + self._measurements.problems

    def add_new(self) -> int:
        """Read the members files that came since the last call; return how many of them could be used."""
        fresh = [stem for stem in trial_stems(self.store) if stem not in self._stems]
        self._unusable = []
        if self._measurements.add_new():
            self._is_written = False
        before = len(self._stems)
        for batch in _read_all(self.store, fresh, "members"):
            tables: dict[str, pa.Table] = {}
            for stem, found in batch:
                problem = found if isinstance(found, str) else self._widen(found, tables.values())
                if isinstance(found, str) or problem:
                    self._unusable.append(f"results: {stem}.members.parquet is left out: {problem}")
                    continue
                tables[stem] = found
            if tables:
                self._stems.update(tables)
                self._add(tables)
        return len(self._stems) - before

    def table(self) -> pa.Table:
        """Return the members in the order in which they finished, with what was measured on them afterwards."""
        return self._measurements.joined(self._rows.drop_columns([_STEM]))

    def stems_of(self, members: Collection[tuple[str, int]]) -> set[str]:
        """Return the stems of the files in trials/ that members, (trial_id, seed), are read from."""
        rows = self._rows.select(["trial_id", "seed", _STEM]).to_pylist()
        return {row[_STEM] for row in rows if (row["trial_id"], row["seed"]) in members}

    def removed(self) -> set[str]:
        """Return the stems of files that were read and are no longer there. Cost: one listing."""
        return self._stems - set(trial_stems(self.store))

    def write(self) -> Merge:
        """Replace results/members.parquet, unless it has these rows already."""
        if not self._is_written:
            self.store.child("results").write("members.parquet", encode_table(self.table()))
            self._is_written = True
        return self.found()

    def found(self) -> Merge:
        """Return what the merge found, without writing it."""
        return Merge(self._rows.num_rows, tuple(self.problems))

    def write_all(self) -> Merge:
        """Replace the merged history and predictions, then the members. Cost: reads those files of all trials.

        A merged file that holds rows of a trial whose own file is damaged stays until these are there again.
        """
        left_out: list[str] = []
        for kind in _VIEWS:
            table, problems = self.view(kind)
            if not (problems and self._merged_rows(kind) > table.num_rows):
                self.store.child(kind).write(f"{kind}.parquet", encode_table(table))
            left_out += problems
        merged = self.write()
        return Merge(merged.num_members, (*merged.problems, *left_out))

    def view(self, kind: str) -> tuple[pa.Table, list[str]]:
        """Return the history or the predictions of the members in table(), and one line per file left out."""
        schema = _VIEWS[kind]
        again = {(row[_STEM], row["trial_id"], row["seed"]) for row in self._duplicates + self._superseded}
        again_in = {stem for stem, _, _ in again}
        problems: list[str] = []
        whole = schema.empty_table()
        used: list[str] = []
        for batch in _read_all(self.store, sorted(self._stems), kind):
            tables = [schema.empty_table()]
            for stem, found in batch:
                if isinstance(found, str):
                    problems.append(f"results: {stem}.{kind}.parquet is left out: {found}")
                    continue
                if stem in again_in:
                    keys = zip(found["trial_id"].to_pylist(), found["seed"].to_pylist(), strict=True)
                    found = found.filter(pa.array([(stem, *key) not in again for key in keys], pa.bool_()))
                tables.append(conformed(found, schema))
                used.append(stem)
            whole = pa.concat_tables([whole, pa.concat_tables(tables).combine_chunks()])
        metadata = {**schema.metadata, b"tune_lb.trials": digest(used)}
        return whole.replace_schema_metadata(metadata), problems

    def _merged_rows(self, kind: str) -> int:
        """Return how many rows the merged file of a kind has; none where it cannot be used."""
        try:
            return int(decode_table(self.store.child(kind).read(f"{kind}.parquet")).num_rows)
        except RequestError:
            return 0

    def _add(self, tables: Mapping[str, pa.Table]) -> None:
        new = pa.concat_tables([conformed(table, self._schema) for table in tables.values()])
        stems = [stem for stem, table in tables.items() for _ in range(table.num_rows)]
        new = new.append_column(_STEM, pa.array(stems, pa.string()))
        schema = _with_stem(self._schema)
        rows = pa.concat_tables([conformed(self._rows, schema), conformed(new, schema)]).combine_chunks()
        order = [(name, "ascending") for name in ("finished_at", "trial_id", "seed", _STEM)]
        rows = rows.take(pc.sort_indices(rows, sort_keys=order))
        keep = _counting(rows)
        left_out = rows.filter(pc.invert(keep)).select([_STEM, "trial_id", "seed", "status"]).to_pylist()
        self._rows = rows.filter(keep)
        self._superseded += [row for row in left_out if row["status"] == _STOPPED]
        self._duplicates += [row for row in left_out if row["status"] != _STOPPED]
        self._is_written = False

    def _widen(self, table: pa.Table, others: Iterable[pa.Table]) -> str:
        """Make room in the schema for a file's columns; return what stands in the way, if anything does."""
        schema = self._schema
        if table.schema.equals(schema):
            return ""
        for field in table.schema:
            index = schema.get_field_index(field.name)
            if index < 0:
                schema = schema.append(field)
                continue
            known = schema.field(index)
            earlier = (_has_values(other, field.name) for other in (self._rows, *others))
            common = _common_type(known.type, earlier, field.type, _has_values(table, field.name))
            if common is None:
                return f"column {field.name} is of type {field.type} here and {known.type} elsewhere"
            schema = schema.set(index, known.with_type(common))
        self._schema = schema
        return ""


def _counting(rows: pa.Table) -> pa.Array:
    """Say of each row, in the order in which they finished, whether it is the one of its member that counts."""
    keys = list(zip(rows["trial_id"].to_pylist(), rows["seed"].to_pylist(), strict=True))
    known = rows.schema.get_field_index("status") >= 0
    is_stopped = [status == _STOPPED for status in rows["status"].to_pylist()] if known else [False] * len(keys)
    first: dict[tuple[str, int], int] = {}
    for place, key in enumerate(keys):
        # whatever came of going on stands in the place of a stop, and a later stop in that of an earlier one
        if key not in first or is_stopped[first[key]]:
            first[key] = place
    return pa.array([first[key] == place for place, key in enumerate(keys)], pa.bool_())


def trial_stems(store: Store) -> list[str]:
    """Return the stems of the trials that were stored whole, sorted."""
    suffix = ".members.parquet"
    return [name.removesuffix(suffix) for name in store.child("trials").list(suffix=suffix)]


def digest(stems: Iterable[str]) -> bytes:
    """Return what tells one set of trials from another; merged views carry it, so that a reader knows their age."""
    return hashlib.sha256("\n".join(sorted(stems)).encode()).hexdigest().encode()


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with the schema's columns: missing ones null, those without values retyped, integers widened."""
    if table.schema.equals(schema):
        return table
    columns = []
    for field in schema:
        index = table.schema.get_field_index(field.name)
        column = table.column(index) if index >= 0 else None
        if column is None or (column.type != field.type and column.null_count == len(column)):
            column = pa.nulls(table.num_rows, field.type)
        columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _with_stem(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field(_STEM, pa.string()))


def _read_all(store: Store, stems: Sequence[str], kind: str) -> Iterator[list[tuple[str, pa.Table | str]]]:
    """Yield stems in batches, each with its table of that kind or with a line that says why there is none.

    A one-row table weighs a hundred times its content, so a caller joins each batch before it asks for the next.
    """
    trials = store.child("trials")
    required = [column.name for column in _COLUMNS[kind] if column.required]
    types = {field.name: field.type for field in _VIEWS[kind]} if kind in _VIEWS else {}

    def read(stem: str) -> pa.Table | str:
        try:
            table = decode_table(trials.read(f"{stem}.{kind}.parquet"))
        except RequestError as error:
            return reason_of(error)
        names = set(table.schema.names)
        missing = [name for name in required if name not in names or table[name].null_count]
        wrong = [name for name, type in types.items() if name in names and table.schema.field(name).type != type]
        return f"column {(missing + wrong)[0]} is missing or of another type" if missing or wrong else table

    # Reading from a disk is bound by the processor, from an object store by waiting.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8) if store.is_local else 32) as threads:
        for start in range(0, len(stems), _BATCH):
            batch = stems[start : start + _BATCH]
            yield list(zip(batch, threads.map(read, batch), strict=True))


def _has_values(table: pa.Table, name: str) -> bool:
    index = table.schema.get_field_index(name)
    return index >= 0 and bool(table.column(index).null_count < table.num_rows)


def _common_type(
    known: pa.DataType, known_has_values: Iterable[bool], new: pa.DataType, new_has_values: bool
) -> pa.DataType | None:
    """Return the type that holds both columns; one without values gives way to the other."""
    if known == new or not new_has_values:
        return known
    if not any(known_has_values):
        return new
    return pa.float64() if {known, new} == {pa.float64(), pa.int64()} else None

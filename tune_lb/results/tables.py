"""Rows to typed tables, tables to Parquet bytes, and back."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tune_lb.errors import RequestError, nearest
from tune_lb.results.columns import SCHEMA_VERSION
from tune_lb.results.wholeness import KEY, NOTE

Row = Mapping[str, Any]

# numpy's scalars count as the numbers they are; a truth value is no number, nor a whole float an integer.
_KINDS: Final[dict[pa.DataType, tuple[tuple[type, ...], Callable[[Any], Any]]]] = {
    pa.float64(): ((numbers.Real,), float),
    pa.int64(): ((numbers.Integral,), int),
    pa.string(): ((str,), str),
    pa.bool_(): ((bool, np.bool_), bool),
    pa.binary(): ((bytes,), bytes),
}


def to_table(schema: pa.Schema, rows: Sequence[Row], table: str) -> pa.Table:
    """Return rows as a table of exactly that schema; a key that a row lacks is null. table: its name, for messages.

    Raises ValueError for an unknown key and for a required value that is missing, TypeError for another type of value.
    """
    names = set(schema.names)
    for unknown in sorted({key for row in rows for key in row} - names):
        raise ValueError(f"results: {table}: no column is called {unknown!r}{nearest(unknown, names)}")
    return pa.Table.from_arrays([_to_array(field, rows, table) for field in schema], schema=schema)


def encode_table(table: pa.Table) -> pa.Buffer:
    """Return a table as the bytes of a Parquet file, with checksums of its pages and room for one of the whole."""
    sink = pa.BufferOutputStream()
    # With few rows, dictionaries, statistics and compression cost more bytes and time than they save.
    large = table.num_rows > 100
    options = {"use_dictionary": large, "write_statistics": large, "write_page_checksum": True}
    with pq.ParquetWriter(sink, table.schema, compression="zstd" if large else "none", **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(NOTE)
    return sink.getvalue()


def decode_table(data: bytes) -> pa.Table:
    """Return the table of a Parquet file, checksums verified.

    Raises RequestError for bytes that are no whole Parquet file and for a newer version.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        check_version((file.schema_arrow.metadata or {}).get(b"tune_lb.schema_version", SCHEMA_VERSION))
        # Small files are read many at a time, by threads of the caller's.
        table = file.read(use_threads=len(data) > 1 << 20)
        names = table.schema.names
        table = table.replace_schema_metadata(_words(table.schema))
    # which of them depends on the bits that are wrong, where a file has no checksum of the whole
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise RequestError(f"not a whole Parquet file: {' '.join(str(error).split())}") from error
    if len(set(names)) < len(names):
        raise RequestError("not a table of results: two columns have one name")
    return table


def _words(schema: pa.Schema) -> dict[bytes, bytes]:
    """Return what a schema says of itself, without the file's checksum. Raises ValueError where that, or a column's, is no text."""
    own = {key: value for key, value in (schema.metadata or {}).items() if key != KEY.encode()}
    for words in (own, *(field.metadata or {} for field in schema)):
        for word in (*words, *words.values()):
            word.decode()
    return own


def check_version(version: bytes | int) -> None:
    """Raise RequestError for a schema version that this code does not know."""
    if int(version) > SCHEMA_VERSION:
        known = f"this tune_lb knows up to {SCHEMA_VERSION}"
        raise RequestError(f"written with schema version {int(version)}, {known}; install a newer one")


def encode_predictions(classes: npt.ArrayLike, num_classes: int) -> bytes:
    """Return classes 0 .. num_classes - 1 as bytes: one each up to 256 classes, two (little endian) up to 65,536."""
    numbered = np.asarray(classes)
    if numbered.ndim != 1 or (numbered.size and numbered.dtype.kind not in "iu"):
        raise TypeError(f"results: predictions are a list of classes, not {numbered.dtype} of shape {numbered.shape}")
    if numbered.size and not 0 <= numbered.min() <= numbered.max() < num_classes:
        found = f"{numbered.min()} .. {numbered.max()}"
        raise ValueError(f"results: predictions are classes 0 .. {num_classes - 1}, found {found}")
    return numbered.astype(_coding(num_classes)).tobytes()


def decode_predictions(coded: bytes, num_classes: int) -> npt.NDArray[np.int64]:
    """Return the classes that encode_predictions coded, shape (number of test examples,)."""
    return np.frombuffer(coded, dtype=_coding(num_classes)).astype(np.int64)


def _coding(num_classes: int) -> np.dtype[Any]:
    if num_classes > 1 << 16:
        raise ValueError(f"results: {num_classes} classes; predictions are stored for at most {1 << 16}")
    return np.dtype("u1" if num_classes <= 256 else "<u2")


def _to_array(field: pa.Field, rows: Sequence[Row], table: str) -> pa.Array:
    kinds, convert = _KINDS[field.type]
    values: list[Any] = []
    for row in rows:
        value = row.get(field.name)
        if value is None:
            if not field.nullable:
                raise ValueError(f"results: {table}: {field.name} is missing; every row must have it")
        elif not isinstance(value, kinds) or (isinstance(value, bool) and field.type != pa.bool_()):
            kind = f"{type(value).__name__} {value!r}"
            raise TypeError(f"results: {table}: column {field.name} is of type {field.type} and cannot hold {kind}")
        values.append(None if value is None else convert(value))
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError) as error:
        raise TypeError(f"results: {table}: column {field.name} cannot hold its values: {error}") from error

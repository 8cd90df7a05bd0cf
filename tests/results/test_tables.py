from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tune_lb.errors import RequestError
from tune_lb.results.columns import Column, ColumnType, table_schema
from tune_lb.results.tables import decode_predictions, decode_table, encode_predictions, encode_table, to_table

TYPES: list[ColumnType] = ["float", "int", "str", "bool", "bytes"]
SCHEMA = table_schema("some", [Column(f"a_{kind}", kind, f"some {kind}") for kind in TYPES])
FULL = {"a_float": 1e-300, "a_int": -(2**63), "a_str": "\u03bb \0", "a_bool": False, "a_bytes": b"\0\xff"}


def test_every_type_and_null_round_trips() -> None:
    rows = [FULL, {}, {"a_float": float("-inf"), "a_int": 2**63 - 1, "a_str": "", "a_bool": True, "a_bytes": b""}]
    back = decode_table(encode_table(to_table(SCHEMA, rows, "some")))
    assert back.to_pylist() == [{name: row.get(name) for name in FULL} for row in rows]
    assert back.schema.equals(SCHEMA, check_metadata=True)


@pytest.mark.parametrize("num_rows", [0, 1, 1000])
def test_a_column_that_is_all_null_keeps_its_type(num_rows: int) -> None:
    back = decode_table(encode_table(to_table(SCHEMA, [{}] * num_rows, "some")))
    assert back.schema.equals(SCHEMA, check_metadata=True)
    assert back.num_rows == num_rows


@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        ("a_float", 3, 3.0),
        ("a_float", np.float32(0.5), 0.5),
        ("a_float", np.int64(2), 2.0),
        ("a_float", Fraction(1, 4), 0.25),
        ("a_int", np.uint8(7), 7),
        ("a_bool", np.bool_(True), True),
        ("a_str", np.str_("x"), "x"),
    ],
)
def test_numbers_of_other_kinds_are_taken(column: str, value: Any, stored: Any) -> None:
    found = to_table(SCHEMA, [{column: value}], "some")[column].to_pylist()[0]
    assert found == stored
    assert type(found) is type(stored)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("a_float", "0.5"),
        ("a_float", True),
        ("a_float", np.zeros(1)),
        ("a_int", 1.0),
        ("a_int", False),
        ("a_int", 2**63),
        ("a_str", 1),
        ("a_str", b"x"),
        ("a_bool", 1),
        ("a_bytes", "x"),
        ("a_bytes", [1]),
    ],
)
def test_a_value_of_another_type_is_refused_by_column(column: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"some: column {column} "):
        to_table(SCHEMA, [FULL, {column: value}], "some")


def test_an_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"some: no column is called 'a_flaot'; did you mean 'a_float'\?"):
        to_table(SCHEMA, [FULL, {"a_flaot": 1.0}], "some")


@pytest.mark.parametrize("row", [{}, {"key": None}])
def test_a_missing_identity_is_named(row: dict[str, Any]) -> None:
    schema = table_schema("some", [Column("key", "str", "the key", required=True)])
    with pytest.raises(ValueError, match="key is missing"):
        to_table(schema, [{"key": "x"}, row], "some")


def test_damaged_bytes_are_never_taken_for_other_values() -> None:
    table = to_table(SCHEMA, [FULL, {}], "some")
    whole = encode_table(table).to_pybytes()
    for size in range(len(whole)):
        with pytest.raises(RequestError):
            decode_table(whole[:size])
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in range(4, footer):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        try:
            assert decode_table(bytes(damaged)).equals(table)
        except RequestError:
            continue


def test_a_newer_version_is_refused() -> None:
    newer = SCHEMA.with_metadata({b"tune_lb.schema_version": b"2"})
    with pytest.raises(RequestError, match="schema version 2, this tune_lb knows up to 1; install a newer one"):
        decode_table(encode_table(newer.empty_table()))


def test_columns_of_one_name_are_refused() -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(RequestError, match="two columns"):
        decode_table(encode_table(twice))


@pytest.mark.parametrize(
    ("num_classes", "coded"), [(10, b"\x00\x09\x03"), (256, b"\x00\x09\x03"), (257, b"\x00\x00\x09\x00\x03\x00")]
)
def test_predictions_are_bytes_in_order(num_classes: int, coded: bytes) -> None:
    assert encode_predictions([0, 9, 3], num_classes) == coded
    assert encode_predictions(np.array([0, 9, 3], dtype=np.int32), num_classes) == coded
    back = decode_predictions(coded, num_classes)
    assert back.dtype == np.int64
    assert back.tolist() == [0, 9, 3]


@pytest.mark.parametrize("num_classes", [1, 256, 257, 1 << 16])
def test_the_last_class_round_trips(num_classes: int) -> None:
    assert decode_predictions(encode_predictions([num_classes - 1], num_classes), num_classes) == [num_classes - 1]
    assert encode_predictions([], num_classes) == b""
    with pytest.raises(ValueError, match=f"found {num_classes} .. {num_classes}"):
        encode_predictions([num_classes], num_classes)


def test_what_is_no_list_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found -1 \.\. 2"):
        encode_predictions([-1, 2], 10)
    with pytest.raises(TypeError, match="float64"):
        encode_predictions([1.0], 10)
    with pytest.raises(TypeError, match="shape"):
        encode_predictions([[1]], 10)
    with pytest.raises(ValueError, match="at most 65536"):
        encode_predictions([1], (1 << 16) + 1)

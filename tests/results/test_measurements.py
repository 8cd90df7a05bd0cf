"""Measurements of finished members: merged by member, beside and in place of what training measured."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tests.rows import SCHEMA, store_trial
from tune_lb.results.columns import Column
from tune_lb.results.measurements import Measurements, write_measurement
from tune_lb.results.merger import Merger
from tune_lb.results.run_files import merge, read_members
from tune_lb.results.storage import Store

TRACE = [Column("trace", "float", "trace of the Hessian"), Column("trace.reason", "str", "why not")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store_trial(store, "a")
    store_trial(store, "b")
    return store


def column(table: pa.Table, name: str) -> dict[tuple[str, int], object]:
    keys = zip(table["trial_id"].to_pylist(), table["seed"].to_pylist(), strict=True)
    return dict(zip(keys, table[name].to_pylist(), strict=True))


def test_values_go_to_their_member_and_the_others_are_null(store: Store) -> None:
    write_measurement(store, "a", 1, "trace", TRACE, {"trace": 2.5, "trace.reason": None})
    write_measurement(store, "nobody", 0, "trace", TRACE, {"trace": 9.0})
    merge(store, SCHEMA)
    table, problems = read_members(store, SCHEMA)
    assert problems == []
    assert column(table, "trace") == {("a", 0): None, ("a", 1): 2.5, ("b", 0): None, ("b", 1): None}
    assert table.schema.field("trace").metadata == {b"description": b"trace of the Hessian"}
    assert table.schema.names[: len(SCHEMA.names)] == SCHEMA.names


def test_a_column_of_training_gives_way_where_there_is_a_measurement(store: Store) -> None:
    error = [Column("test_error", "float", "measured again")]
    write_measurement(store, "b", 0, "again", error, {"test_error": 0.5})
    table, _ = read_members(store, SCHEMA)
    assert column(table, "test_error") == {("a", 0): 0.25, ("a", 1): 0.25, ("b", 0): 0.5, ("b", 1): 0.25}


def test_a_merger_sees_new_ones_and_writes_the_view_again(store: Store) -> None:
    view = Merger(store, SCHEMA)
    view.add_new()
    view.write()
    first = store.read("results/members.parquet")
    view.add_new()
    view.write()
    assert store.read("results/members.parquet") == first
    write_measurement(store, "a", 0, "trace", TRACE, {"trace": 1.0})
    assert view.add_new() == 0, "no members came"
    view.write()
    assert store.read("results/members.parquet") != first
    assert column(view.table(), "trace")["a", 0] == 1.0


def test_types_are_those_of_the_values(store: Store) -> None:
    kinds = [("a", 0, "float", None), ("a", 1, "int", 3), ("b", 0, "float", 0.5), ("b", 1, "str", None)]
    for trial_id, seed, kind, value in kinds:
        write_measurement(store, trial_id, seed, "m", [Column("m", kind, "mixed")], {"m": value})
    table, problems = read_members(store, SCHEMA)
    assert (column(table, "m"), problems) == ({("a", 0): None, ("a", 1): 3.0, ("b", 0): 0.5, ("b", 1): None}, [])
    write_measurement(store, "b", 1, "m", [Column("m", "str", "mixed")], {"m": "text"})
    table, problems = read_members(store, SCHEMA)
    assert column(table, "m")["b", 0] == 0.5
    assert problems == [
        "results: measurements/b.1.m.parquet is left out: column m is of type string here and double elsewhere"
    ]


def test_a_measurement_of_another_kind_than_training_s_column_is_left_out_and_said(store: Store) -> None:
    write_measurement(store, "a", 0, "m", [Column("test_error", "str", "no number")], {"test_error": "high"})
    table, problems = read_members(store, SCHEMA)
    assert column(table, "test_error")["a", 0] == 0.25
    assert problems == ["results: measurements of test_error are left out: string here, double there"]


def test_foreign_files_are_named(store: Store) -> None:
    store.write("measurements/x.parquet", b"no table")
    found = Measurements(store)
    assert found.add_new() == 0
    assert found.problems[0].startswith("results: measurements/x.parquet is left out: not a whole Parquet file")

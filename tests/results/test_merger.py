from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tests.results.test_storage import memory_store
from tests.rows import EXTRA, SCHEMA, history, member, store_trial
from tune_lb.results import merger
from tune_lb.results.columns import Column, members_schema, metric_columns
from tune_lb.results.member_rows import write_trial
from tune_lb.results.merger import Merge, Merger
from tune_lb.results.run_files import merge, read_members
from tune_lb.results.storage import Store
from tune_lb.results.tables import encode_table


@pytest.fixture(params=["disk", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / "run") if request.param == "disk" else memory_store()


def seeds_of(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table["trial_id"].to_pylist(), table["seed"].to_pylist(), strict=True))


def test_only_new_files_are_read(store: Store) -> None:
    view = Merger(store, SCHEMA)
    assert view.add_new() == 0
    store_trial(store, "a")
    store_trial(store, "b")
    assert view.add_new() == 2
    assert view.write() == Merge(4, ())
    store.delete("trials/a.search.0-1.members.parquet")
    store_trial(store, "c")
    assert view.add_new() == 1
    assert view.write() == Merge(6, ())
    assert view.table().schema.equals(SCHEMA, check_metadata=True)


def test_a_view_without_news_is_not_written_again(store: Store) -> None:
    view = Merger(store, SCHEMA)
    store_trial(store, "a")
    view.add_new()
    view.write()
    store.write("results/members.parquet", b"mark")
    view.add_new()
    view.write()
    assert store.read("results/members.parquet") == b"mark"
    store_trial(store, "b")
    view.add_new()
    view.write()
    assert store.read("results/members.parquet") != b"mark"


def test_piece_by_piece_gives_what_all_at_once_gives(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merger, "_BATCH", 2)
    view = Merger(store, SCHEMA)
    for trial_id in ("c", "a", "e", "b", "d"):
        store_trial(store, trial_id)
        view.add_new()
    whole = Merger(store, SCHEMA)
    assert whole.add_new() == 5
    assert view.table().equals(whole.table())
    assert seeds_of(whole.table()) == [(t, s) for s in (0, 1) for t in "abcde"], "rows are in order of finished_at"
    assert whole.view("history")[0].num_rows == 20


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 and more PAR1"])
def test_a_corrupt_file_is_named_and_skipped_until_it_is_whole(store: Store, content: bytes) -> None:
    store_trial(store, "a")
    store.write("trials/b.search.0-1.members.parquet", content)
    found = merge(store, SCHEMA)
    assert found.num_members == 2
    assert len(found.problems) == 1
    assert found.problems[0].startswith("results: b.search.0-1.members.parquet is left out: not a whole Parquet file")
    assert "\n" not in found.problems[0]
    view = Merger(store, SCHEMA)
    view.add_new()
    store_trial(store, "b")
    assert view.add_new() == 1
    assert view.write_all() == Merge(4, ())


@pytest.mark.parametrize("kind", ["history", "predictions"])
def test_members_stay_where_their_history_is_corrupt(store: Store, kind: str) -> None:
    stem = store_trial(store, "a")
    store_trial(store, "b")
    store.write(f"trials/{stem}.{kind}.parquet", b"PAR1")
    found = merge(store, SCHEMA)
    assert found.num_members == 4
    assert [line.split(" is left out")[0] for line in found.problems] == [f"results: {stem}.{kind}.parquet"]


def test_other_tables_under_a_members_name_are_skipped(store: Store) -> None:
    store_trial(store, "a")
    foreign = {"b": pa.table({"x": [1]}), "c": SCHEMA.empty_table().drop_columns(["seed"])}
    for name, table in foreign.items():
        store.write(f"trials/{name}.search.0-0.members.parquet", encode_table(table))
    members, problems = read_members(store)
    assert members.num_rows == 2
    assert [line.partition(".")[0] for line in problems] == ["results: b", "results: c"]


@pytest.mark.parametrize("later", ["a.search.0-1", "a.search.1-2"])
def test_of_duplicates_the_first_to_finish_counts(store: Store, later: str) -> None:
    times = {"a.search.0-1": "2026-01-01T00:00:05", "a.search.1-2": "2026-01-01T00:00:05"}
    times[later] = "2026-01-01T00:00:06"
    for stem, seeds in (("a.search.1-2", (1, 2)), ("a.search.0-1", (0, 1))):
        rows = [member("a", seed, finished_at=times[stem], error=stem) for seed in seeds]
        recorded = [row | {"value": float(stem == later)} for seed in seeds for row in history("a", seed, 3)]
        predicted = [{"trial_id": "a", "seed": seed, "predictions": stem.encode()} for seed in seeds]
        write_trial(store, stem, SCHEMA, rows, recorded, predicted)
    view = Merger(store, SCHEMA)
    view.add_new()
    assert sorted(seeds_of(view.table())) == [("a", 0), ("a", 1), ("a", 2)]
    kept = {row["seed"]: row["error"] for row in view.table().to_pylist()}
    assert kept[1] != later
    recorded = [row for row in view.view("history")[0].to_pylist() if row["seed"] == 1]
    assert [row["value"] for row in recorded] == [0.0] * 3
    coded = {row["seed"]: row["predictions"].decode() for row in view.view("predictions")[0].to_pylist()}
    assert coded == kept
    assert view.problems == [
        f"results: {later}: seed 1 is in another file as well; the one that finished first counts",
    ]


def test_of_duplicates_that_finished_together_the_first_file_counts(store: Store) -> None:
    view = Merger(store, SCHEMA)
    for stem in ("a.search.0-1", "a.search.0-0"):
        write_trial(store, stem, SCHEMA, [member("a", 0, error=stem)], [], [])
        view.add_new()
    assert view.table()["error"].to_pylist() == ["a.search.0-0"], "it depends on which file came first"
    assert read_members(store)[0].equals(view.table())


def test_columns_of_all_files_are_united(store: Store) -> None:
    other = Column("lars.trust", "float", "trust coefficient")
    store_trial(store, "a", **{"sam.rho": 0.5})
    write_trial(store, "b.search.0-0", members_schema([other]), [member("b", **{"lars.trust": 0.1})], [], [])
    members, problems = read_members(store)
    assert problems == []
    assert set(members.schema.names) == {*SCHEMA.names, "lars.trust"}
    assert members.schema.field("lars.trust").metadata == {b"description": b"trust coefficient"}
    values = {row["trial_id"]: (row["sam.rho"], row["lars.trust"]) for row in members.to_pylist()}
    assert values == {"a": (0.5, None), "b": (None, 0.1)}


@pytest.mark.parametrize("order", ["null first", "null last"])
def test_a_type_known_late_wins_over_a_column_without_values(store: Store, order: str) -> None:
    described = {"own.note": "a note of a metric of the user's"}
    assert metric_columns(described)[0].type == "float"
    rows = {"a": {}, "b": {"own.note": "text"}} if order == "null first" else {"a": {"own.note": "text"}, "b": {}}
    view = Merger(store, members_schema(metric_columns(described)))
    for name, row in rows.items():
        schema = members_schema(metric_columns(described, [row]))
        write_trial(store, f"{name}.search.0-0", schema, [member(name, **row)], [], [])
        view.add_new()
    assert view.problems == []
    assert view.table().schema.field("own.note").type == pa.string()
    assert sorted(view.table()["own.note"].to_pylist(), key=str) == [None, "text"]


def test_integers_widen_and_other_conflicts_leave_the_file_out(store: Store) -> None:
    for name, kind, value in (("a", "int", 3), ("b", "float", 0.5), ("c", "str", "x")):
        schema = members_schema([Column("own", kind, "x")])  # type: ignore[arg-type]
        write_trial(store, f"{name}.search.0-0", schema, [member(name, own=value)], [], [])
    members, problems = read_members(store)
    assert members["own"].to_pylist() == [3.0, 0.5]
    assert members.schema.field("own").type == pa.float64()
    assert len(problems) == 1
    assert "c.search.0-0.members.parquet" in problems[0]
    assert "column own is of type string here and double elsewhere" in problems[0]


def test_the_schema_of_the_space_is_there_without_any_trial(store: Store) -> None:
    assert merge(store, SCHEMA) == Merge(0, ())
    members, problems = read_members(store)
    assert members.schema.equals(SCHEMA, check_metadata=True)
    assert [column.name for column in EXTRA] == members.schema.names[-len(EXTRA) :]
    assert problems == []


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("last", ["completed", "diverged", "failed", "stopped"])
def test_a_member_that_was_stopped_and_went_on_is_where_it_came_to_last(
    store: Store, order: tuple[int, ...], last: str
) -> None:
    rows = [
        member(status=status, updates=5 * (look + 1), finished_at=f"2026-01-01T00:00:0{look}+00:00")
        for look, status in enumerate(("stopped", "stopped", last))
    ]
    view = Merger(store, SCHEMA)
    for look in order:
        write_trial(store, f"job{look}.search.0", SCHEMA, rows[look : look + 1], history(num_rows=look + 1), [])
        view.add_new()
    (row,) = view.table().to_pylist()
    assert (row["status"], row["updates"]) == (last, 15)
    assert view.problems == [], "it is in three files, as it should be"
    assert view.view("history")[0].num_rows == 3, "of the last file, which has it whole"
    assert view.stems_of({("a", 0)}) == {"job2.search.0"}

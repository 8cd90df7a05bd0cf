from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.killing import REPOSITORY, kill_at
from tests.rows import SCHEMA, history, member, store_trial
from tune_lb.errors import RequestError
from tune_lb.results import member_rows
from tune_lb.results import run_files as results
from tune_lb.results.columns import HISTORY, PREDICTIONS
from tune_lb.results.merger import HISTORY_SCHEMA, Merge
from tune_lb.results.storage import StorageError, Store
from tune_lb.results.tables import encode_predictions, encode_table, to_table


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run")


def test_a_trial_comes_back_as_written(store: Store) -> None:
    row = member("a", 3, **{"sam.rho": 1, "lambda_max.hvps": 9, "lambda_max.split": "train", "error": None})
    coded = encode_predictions([1, 0, 9], 10)
    predictions = [{"trial_id": "a", "seed": 3, "predictions": coded}]
    member_rows.write_trial(store, "a.search.3-3", SCHEMA, [row], history("a", 3, 5), predictions)
    assert store.child("trials").list() == [
        f"a.search.3-3.{kind}.parquet" for kind in ("history", "members", "predictions")
    ]
    members, problems = results.read_members(store)
    assert problems == []
    full = dict.fromkeys(SCHEMA.names) | row | {"schema_version": 1, "sam.rho": 1.0}
    assert members.to_pylist() == [full]
    assert results.read_history(store)[0].to_pylist() == history("a", 3, 5)
    assert results.read_predictions(store)[0].to_pylist() == predictions


def test_history_may_be_a_table(store: Store) -> None:
    table = pa.Table.from_pylist(history("a", 0, 4), schema=HISTORY_SCHEMA.remove_metadata())
    member_rows.write_trial(store, "a.search.0-0", SCHEMA, [member()], table, [])
    assert results.read_history(store)[0].to_pylist() == history("a", 0, 4)
    with pytest.raises(TypeError, match="history has the columns"):
        member_rows.write_trial(store, "a.search.0-0", SCHEMA, [member()], table.drop_columns(["value"]), [])


@pytest.mark.parametrize(
    ("members", "recorded", "predicted", "message"),
    [
        ([], [], [], "no members"),
        ([member(), member()], [], [], "a member is given twice"),
        ([member()], history("a", 1), [], r"history of \('a', 1\), which is not among"),
        ([member()], [], [{"trial_id": "b", "seed": 0, "predictions": b""}], r"predictions of \('b', 0\)"),
        ([member(status="fine")], [], [], "status is 'fine'; it is one of completed"),
        ([member(stage="train")], [], [], "stage is 'train'; it is one of search"),
        ([member(sam_rho=0.1)], [], [], "no column is called 'sam_rho'; did you mean 'sam.rho'"),
        ([member(arm=None)], [], [], "arm is missing"),
    ],
)
def test_wrong_rows_are_refused_before_anything_is_written(
    store: Store, members: list[Any], recorded: list[Any], predicted: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        member_rows.write_trial(store, "a.search.0-0", SCHEMA, members, recorded, predicted)
    assert store.child("trials").list() == []


@pytest.mark.parametrize(("point", "num_files"), [("history", 0), ("predictions", 1), ("members", 2)])
def test_a_kill_before_the_last_rename_leaves_no_member(
    store: Store, tmp_path: Path, point: str, num_files: int
) -> None:
    code = f"from tests.rows import *; store_trial(Store({store.location!r}))"
    assert kill_at(f"rename@.{point}.parquet", code, tmp_path).endswith(f"/trials/a.search.0-1.{point}.parquet")
    assert len(store.child("trials").list()) == num_files
    assert results.merge(store, SCHEMA) == Merge(0, ())
    assert pd.read_parquet(Path(store.location) / "results").shape == (0, len(SCHEMA))
    store_trial(store)
    assert results.merge(store, SCHEMA) == Merge(2, ())


def test_a_kill_in_a_merge_leaves_the_old_view(store: Store, tmp_path: Path) -> None:
    store_trial(store, "a")
    results.merge(store, SCHEMA)
    store_trial(store, "b")
    code = f"from tests.rows import *; from tune_lb.results.run_files import merge; merge(Store({store.location!r}), SCHEMA)"
    kill_at("rename@results/members.parquet", code, tmp_path)
    frame = pd.read_parquet(Path(store.location) / "results")
    assert frame["trial_id"].tolist() == ["a", "a"]
    assert results.merge(store, SCHEMA).num_members == 4


def test_pandas_sees_every_column_with_its_type(store: Store) -> None:
    store_trial(store, "a")
    store_trial(store, "b", **{"sam.rho": 0.1, "lambda_max.converged": True})
    results.merge(store, SCHEMA)
    folder = Path(store.location) / "results"
    frame = pd.read_parquet(folder)
    assert list(frame.columns) == SCHEMA.names
    assert frame.shape == (4, len(SCHEMA))
    assert sorted(frame["sam.rho"].dropna()) == [0.1, 0.1]
    assert frame["lambda_max.split"].isna().all()
    typed = pd.read_parquet(folder, dtype_backend="pyarrow")
    assert {name: typed[name].dtype.pyarrow_dtype for name in SCHEMA.names} == {f.name: f.type for f in SCHEMA}


def test_merged_columns_are_described(store: Store) -> None:
    store_trial(store)
    results.merge(store, SCHEMA)
    merged = pq.read_schema(Path(store.location) / "results" / "members.parquet")
    assert merged.equals(SCHEMA, check_metadata=True)
    for name, columns in (("history", HISTORY), ("predictions", PREDICTIONS)):
        merged = pq.read_schema(Path(store.location) / name / f"{name}.parquet")
        assert [merged.field(c.name).metadata[b"description"].decode() for c in columns] == [
            c.description for c in columns
        ]


def test_views_are_read_where_they_are_up_to_date(store: Store) -> None:
    assert results.read_history(store) == (HISTORY_SCHEMA.empty_table(), [])
    store_trial(store, "a")
    results.merge(store)
    store.delete("trials/a.search.0-1.history.parquet")
    assert results.read_history(store)[0].num_rows == 4, "the view was not used"
    store_trial(store, "b")
    table, problems = results.read_history(store)
    assert set(table["trial_id"].to_pylist()) == {"b"}, "the view is older than the trials"
    assert len(problems) == 1
    assert "a.search.0-1.history.parquet is left out" in problems[0]


def test_a_copy_without_trials_is_read_from_its_views(store: Store) -> None:
    store_trial(store)
    results.merge(store, SCHEMA)
    before = [read(store)[0] for read in (results.read_members, results.read_history, results.read_predictions)]
    store.child("trials").delete_all()
    after = [read(store)[0] for read in (results.read_members, results.read_history, results.read_predictions)]
    assert [table.to_pylist() for table in after] == [table.to_pylist() for table in before]
    assert [table.num_rows for table in after] == [2, 4, 2]


def test_a_damaged_view_is_merged_anew_while_there_are_trials(store: Store) -> None:
    store_trial(store)
    results.merge(store, SCHEMA)
    store.write("history/history.parquet", b"PAR1")
    assert results.read_history(store)[0].num_rows == 4
    store.child("trials").delete_all()
    with pytest.raises(RequestError, match=r"history/history\.parquet is damaged .*put back a copy"):
        results.read_history(store)


def test_targets_and_space_come_back(store: Store) -> None:
    results.write_targets(store, {1: b"\1\2", 0: b"\0"})
    assert results.read_targets(store) == {0: b"\0", 1: b"\1\2"}
    assert results.read_examples(store) == {}
    results.write_targets(store, {1: b"\1\2", 0: b"\0"}, examples={1: [70_000, 3], 0: [5]})
    assert {seed: index.tolist() for seed, index in results.read_examples(store).items()} == {0: [5], 1: [70_000, 3]}
    results.write_space(store, {"name": "x", "arms": [{"lr": 0.1}]})
    assert results.read_space(store) == {"schema_version": 1, "name": "x", "arms": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"space\.json is damaged: it is no description of a run"),
        (b"[]", r"give the search command again, which makes it anew"),
        (b'{"name": "x"}', "schema_version"),
        (b'{"schema_version": 2}', "install a newer"),
    ],
)
def test_a_space_that_cannot_be_used_is_one_clear_error(store: Store, content: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=r"is not a run: it has no space\.json"):
        results.read_space(store)
    store.write("space.json", content)
    with pytest.raises(RequestError, match=message):
        results.read_space(store)


def test_missing_targets_are_named(store: Store) -> None:
    with pytest.raises(RequestError, match=r"targets\.parquet"):
        results.read_targets(store)


def test_an_unwritable_run_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(StorageError, match="choose another folder"):
        store_trial(Store(tmp_path / "file" / "run"))


@pytest.mark.slow
def test_ten_thousand_members_load_within_a_second(store: Store) -> None:
    rows = [member(f"{index:016x}", 0, **{"sam.rho": index / 7}) for index in range(10_000)]
    recorded = [row for index in range(10_000) for row in history(f"{index:016x}", 0, 20)]
    members = to_table(SCHEMA, [row | {"schema_version": 1} for row in rows], "members")
    store.write("results/members.parquet", encode_table(members))
    store.write("history/history.parquet", encode_table(to_table(HISTORY_SCHEMA, recorded, "history")))
    elapsed_s = math.inf
    for _ in range(3):  # the machine may be at something else
        start = time.perf_counter()
        frames = [pd.read_parquet(Path(store.location) / name) for name in ("results", "history")]
        elapsed_s = min(elapsed_s, time.perf_counter() - start)
    assert [len(frame) for frame in frames] == [10_000, 200_000]
    assert elapsed_s < 1.0


def test_results_load_neither_torch_nor_ray_nor_pandas() -> None:
    heavy = ("torch", "ray", "pandas")
    code = f"import sys, tune_lb.results.run_files, tune_lb.results.ledger; sys.exit(any(name in sys.modules for name in {heavy}))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)

"""Every kind of file of a run damaged in every way: it is named, set aside, and what it held is trained again and nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.faults.small_runs import SPACE, run_of, search
from tune_lb.budgets import Epochs
from tune_lb.errors import RequestError
from tune_lb.results.run_files import merge
from tune_lb.results.storage import Store
from tune_lb.results.wholeness import KEY

KINDS = {
    "members": "trials/*.search.*.members.parquet",
    "history": "trials/*.confirm.*.history.parquet",
    "predictions": "trials/*.confirm.*.predictions.parquet",
    "weights": "weights/*.safetensors",
    "measured": "measurements/*.measured.parquet",
}
"""Files with what is about members, which are trained again."""

MADE_AGAIN = {
    "space": "space.json",
    "merged members": "results/members.parquet",
    "merged history": "history/history.parquet",
    "merged predictions": "predictions/predictions.parquet",
    "targets": "predictions/targets.parquet",
}
"""Files that are made from others."""

Damage = Callable[[Path], None]


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def footer(path: Path) -> None:
    """Flip a bit where the names of columns, tensors or fields are: what is read then is another thing, and no error."""
    data = bytearray(path.read_bytes())
    for word in (b"test_error", b"value", b"predictions", b"weight", b"parameter_norm", b"question", b"example"):
        if word in data:
            data[data.rindex(word) + 2] ^= 1
            break
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_bytes(b"a text\n" * 50)


def exchanged(path: Path) -> None:
    """Put another file of its kind in its place."""
    like = sorted(
        other
        for other in path.parent.glob(f"*{path.suffix}")
        if other.name.split(".")[-2:] == path.name.split(".")[-2:]
    )
    path.write_bytes(next((other for other in like if other != path), Path(__file__)).read_bytes())


WAYS = (flipped, footer, cut, emptied, text, exchanged)


def held_by(run: Path, path: Path) -> set[tuple[str, int]]:
    """Return the members of the part of a job that a file belongs to."""
    table = pd.concat(
        pd.read_parquet(file).assign(file=file.name) for file in sorted(run.glob("trials/*.members.parquet"))
    )
    if path.parent.name == "weights":
        trial_id, seed, _ = path.name.split(".")
        names = set(table[(table["trial_id"] == trial_id) & (table["seed"] == int(seed))]["file"])
    else:
        names = {f"{'.'.join(path.name.split('.')[:3])}.members.parquet"}
    own = table[table["file"].isin(names)]
    return set(zip(own["trial_id"], own["seed"], strict=True))


def assert_equal_runs(found: Path, expected: Path, *, measured: bool = True) -> None:
    columns = ["trial_id", "seed", "stage", "arm", "status", "test_error", "train_loss"]
    columns += ["parameter_norm"] * measured
    tables = [
        pd.read_parquet(run / "results")[columns].sort_values(["trial_id", "seed"], ignore_index=True)
        for run in (found, expected)
    ]
    pd.testing.assert_frame_equal(*tables)
    for kind in ("history", "predictions"):
        assert (
            pq.read_metadata(found / kind / f"{kind}.parquet").num_rows
            == pq.read_metadata(expected / kind / f"{kind}.parquet").num_rows
        )
    names = [sorted(path.name for path in (run / "weights").iterdir()) for run in (found, expected)]
    assert names[0] == names[1]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_damaged_file_held_is_trained_again_and_nothing_else(
    kind: str, way: Damage, run: Path, done: Path
) -> None:
    path = sorted(run.glob(KINDS[kind]))[0]
    lost = held_by(run, path)
    way(path)
    found = search(run.parent.parent)
    (line,) = found.damaged
    assert line.startswith(f"{path.relative_to(run)} is damaged: ")
    assert "trained again" in line
    assert "\n" not in line
    assert set(found.trained) == lost
    assert len(found.trained) == len(lost)
    assert (run / "damaged" / path.relative_to(run)).exists()
    assert found.left_out == []
    assert_equal_runs(run, run_of(done))
    assert search(run.parent.parent).damaged == []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", MADE_AGAIN)
def test_what_is_made_from_others_is_made_again_and_nothing_is_trained(
    kind: str, way: Damage, run: Path, done: Path
) -> None:
    path = run / MADE_AGAIN[kind]
    way(path)
    found = search(run.parent.parent)
    (line,) = found.damaged
    assert line.startswith(f"{MADE_AGAIN[kind]} is damaged: ")
    assert "made" in line
    assert found.trained == []
    assert (run / "damaged" / MADE_AGAIN[kind]).exists()
    assert_equal_runs(run, run_of(done))
    was, now = (json.loads((of / "space.json").read_text()) for of in (run_of(done), run))
    same = was.keys() - {"written_at", "tune_lb.checksum", "asked", "code"}
    assert {key: now[key] for key in same} == {key: was[key] for key in same}


@pytest.mark.parametrize("missing", ["history", "predictions"])
def test_a_missing_part_of_a_trial_is_damage(missing: str, run: Path) -> None:
    path = sorted(run.glob(f"trials/*.confirm.*.{missing}.parquet"))[0]
    lost = held_by(run, path)
    path.unlink()
    found = search(run.parent.parent)
    assert set(found.trained) == lost
    assert found.damaged[0].startswith(f"trials/{path.name} is damaged: it is missing; it is set aside")


def test_several_at_once_and_one_after_the_other(run: Path, done: Path) -> None:
    paths = [sorted(run.glob(pattern))[-1] for pattern in KINDS.values()]
    lost = set().union(*(held_by(run, path) for path in paths))
    for path, way in zip(paths, WAYS, strict=False):
        way(path)
    found = search(run.parent.parent)
    assert {line.partition(" ")[0] for line in found.damaged} == {str(path.relative_to(run)) for path in paths}
    assert sorted(found.trained) == sorted(lost)
    path = sorted(run.glob(KINDS["members"]))[-1]
    emptied(path)
    search(run.parent.parent)
    assert [name.name for name in sorted((run / "damaged" / "trials").glob(f"{path.name}*"))] == [
        path.name,
        f"{path.name}.2",
    ]
    assert_equal_runs(run, run_of(done))


def test_merged_rows_stay_while_a_trial_s_own_are_damaged(run: Path) -> None:
    """In place of overwriting the one file that still held them."""
    before = {kind: pd.read_parquet(run / kind / f"{kind}.parquet") for kind in ("history", "predictions")}
    for kind in before:
        flipped(sorted(run.glob(f"trials/*.confirm.*.{kind}.parquet"))[0])
    assert len(merge(Store(run)).problems) == 2
    for kind, rows in before.items():
        pd.testing.assert_frame_equal(pd.read_parquet(run / kind / f"{kind}.parquet"), rows)


def test_a_run_made_before_checksums_goes_on(run: Path, tmp_path: Path) -> None:
    for path in run.rglob("*"):
        if path.is_file():
            # of the same length, as another key would be
            path.write_bytes(path.read_bytes().replace(KEY.encode(), b"x" * len(KEY)))
    found = search(run.parent.parent)
    assert (found.trained, found.damaged) == ([], [])


def test_members_of_another_space_are_not_taken_where_space_json_is_gone(run: Path) -> None:
    flipped(run / "space.json")
    with pytest.raises(RequestError, match=r"its 12 members were trained for another space"):
        search(run.parent.parent, dataclasses.replace(SPACE, budget=Epochs(2)))


def test_a_killed_mending_is_gone_on_with(run: Path, done: Path, tmp_path: Path) -> None:
    """Weights are set aside before the files of their trial: what was killed between is known by what lies in damaged/."""
    path = sorted(run.glob("weights/*.safetensors"))[0]
    lost = held_by(run, path)
    (run / "damaged" / "weights").mkdir(parents=True)
    path.rename(run / "damaged" / "weights" / path.name)
    assert set(search(run.parent.parent).trained) == lost
    assert_equal_runs(run, run_of(done))
    assert search(run.parent.parent).trained == []

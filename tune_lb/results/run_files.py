"""The results of a run: what workers write, what the driver merges, what everybody reads.

trials/<stem>.{history,predictions,members}.parquet, with stem <job>.<stage>.<part>, are the truth, written once by
the worker that trained; the members file comes last, and without it what it is about counts as not trained.
results/members.parquet, history/history.parquet and predictions/predictions.parquet are merged from them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tune_lb.errors import RequestError
from tune_lb.results.columns import SCHEMA_VERSION, TARGETS, table_schema
from tune_lb.results.locations import DamagedError, reason_of
from tune_lb.results.merger import Merge, Merger, digest, trial_stems
from tune_lb.results.storage import Store
from tune_lb.results.tables import check_version, decode_table, encode_table, to_table
from tune_lb.results.wholeness import KEY, NOTE

TARGETS_SCHEMA: Final = table_schema("targets", TARGETS)


PROCEDURE: Final = "blocks"
"""What space.json calls the procedure of runs that are made now; runs of before do not say."""


def of_old_design(known: Mapping[str, Any]) -> bool:
    """Say whether a run was made by the search of before (search, rescreen, confirm), from its space.json."""
    return bool(known.get("procedure") != PROCEDURE)


def merge(store: Store, schema: pa.Schema | None = None) -> Merge:
    """Replace the three merged views of a run by what its trials' files hold."""
    merger = Merger(store, schema)
    merger.add_new()
    return merger.write_all()


def read_members(store: Store, schema: pa.Schema | None = None) -> tuple[pa.Table, list[str]]:
    """Return the members that the trials' files hold (see Merger.table) and one line per thing left out.

    Where a run was copied without its trials, those of the merged view.
    """
    if not trial_stems(store) and store.exists("results/members.parquet"):
        return _decoded(store, "results/members.parquet"), []
    merger = Merger(store, schema)
    merger.add_new()
    return merger.table(), merger.problems


def read_history(store: Store) -> tuple[pa.Table, list[str]]:
    """Return the history and one line per file left out: the merged view where it is up to date, else merged anew."""
    return _read_view(store, "history")


def read_predictions(store: Store) -> tuple[pa.Table, list[str]]:
    """Return the test predictions and one line per file left out, as read_history does."""
    return _read_view(store, "predictions")


def write_targets(
    store: Store,
    targets: Mapping[int, bytes],
    data: str | None = None,
    *,
    examples: Mapping[int, npt.ArrayLike] | None = None,
) -> None:
    """Store the true classes of the test examples of each split, coded by encode_predictions, and which examples they are.

    data: the source of a data set that arms have for themselves; None: the run's own. examples: (n,) by split seed the index of
    each test example in the whole data.
    """
    which = {seed: np.asarray(index, "<i4").tobytes() for seed, index in (examples or {}).items()}
    rows = [
        {"split_seed": seed, "targets": coded, "example": which.get(seed)} for seed, coded in sorted(targets.items())
    ]
    store.write(_targets_file(data), encode_table(to_table(TARGETS_SCHEMA, rows, "targets")))


def read_targets(store: Store, data: str | None = None) -> dict[int, bytes]:
    """Return the true classes of the test examples by split seed, for decode_predictions. data: see write_targets."""
    table = _decoded(store, _targets_file(data))
    return dict(zip(table["split_seed"].to_pylist(), table["targets"].to_pylist(), strict=True))


def read_examples(store: Store, data: str | None = None) -> dict[int, npt.NDArray[np.int64]]:
    """Return by split seed which of the whole data the test examples are, (n,); nothing for runs that did not store it.

    Of resampled cuts, predictions can so be joined by example. data: see write_targets.
    """
    table = _decoded(store, _targets_file(data))
    if "example" not in table.schema.names:
        return {}
    pairs = zip(table["split_seed"].to_pylist(), table["example"].to_pylist(), strict=True)
    return {seed: np.frombuffer(coded, "<i4").astype(np.int64) for seed, coded in pairs if coded is not None}


def _targets_file(data: str | None) -> str:
    mark = "" if data is None else f".{hashlib.sha256(data.encode()).hexdigest()[:16]}"
    return f"predictions/targets{mark}.parquet"


def write_space(store: Store, space: Mapping[str, Any]) -> None:
    """Store space.json: what was asked and what it resolved to."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **space, **NOTE}, indent=2, allow_nan=False)
    store.write("space.json", text.encode())


def read_space(store: Store) -> dict[str, Any]:
    """Return space.json. Raises RequestError where there is none, where it is damaged, and for a newer version."""
    if not store.exists("space.json"):
        raise RequestError(f"results: {store.location} is not a run: it has no space.json; give the folder of a run")
    try:
        space: dict[str, Any] = json.loads(store.read("space.json"))
        check_version(space["schema_version"])
    except DamagedError as error:
        raise UnusableSpace(store, error.reason) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UnusableSpace(store, f"it is no description of a run ({type(error).__name__}: {error})") from error
    space.pop(KEY, None)
    return space


class UnusableSpace(RequestError):
    """A run's space.json is damaged. reason: what is wrong with it."""

    def __init__(self, store: Store, reason: str) -> None:
        again = "put back a copy, or give the search command again, which makes it anew from the space and the members"
        super().__init__(f"results: {store.location}/space.json is damaged: {reason}; {again}")
        self.reason = reason


def _read_view(store: Store, kind: str) -> tuple[pa.Table, list[str]]:
    stems, path = trial_stems(store), f"{kind}/{kind}.parquet"
    if store.exists(path):
        try:
            table = _decoded(store, path)
        except RequestError:
            if not stems:
                raise
        else:
            if not stems or (table.schema.metadata or {}).get(b"tune_lb.trials") == digest(stems):
                return table, []
    merger = Merger(store)
    merger.add_new()
    table, problems = merger.view(kind)
    return table, [*merger.problems, *problems]


def _decoded(store: Store, path: str) -> pa.Table:
    try:
        return decode_table(store.read(path))
    except RequestError as error:
        raise RequestError(
            f"results: {store.location}/{path} is damaged ({reason_of(error)}); put back a copy"
        ) from error

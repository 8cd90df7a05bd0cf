"""Where the rows of members are written: the files of one part of a job, history and predictions first, members last."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tune_lb.results.columns import LENT, OLD_STAGES, SCHEMA_VERSION, STAGES, STATUSES
from tune_lb.results.merger import HISTORY_SCHEMA, PREDICTIONS_SCHEMA, conformed
from tune_lb.results.storage import Store
from tune_lb.results.tables import Row, encode_table, to_table


def job_stem(key: str, stage: str, part: int, *, failed: bool = False) -> str:
    """Return the name that the files of one part of a job share. Members that failed stand in files of their own."""
    return f"{key}.{stage}.{'failed' if failed else ''}{part}"


def holds_failures(file_name: str) -> bool:
    """Say whether a file is about members that failed, from its name."""
    return re.fullmatch(r"\w+\.\w+\.failed\d+\.\w+\.parquet", file_name) is not None


def write_trial(
    store: Store,
    stem: str,
    schema: pa.Schema,
    members: Sequence[Row],
    history: Sequence[Row] | pa.Table,
    predictions: Sequence[Row],
) -> None:
    """Store what a worker found: history, predictions, then members, which commits the trial.

    store: the run's folder. schema: members_schema(...) of the space. A key that a row lacks is null; schema_version is
    filled in. Everything is checked before anything is written: ValueError for an unknown key, a missing identity, a
    member given twice, a history or prediction of a member that is not there; TypeError for a value of another type.
    """
    rows = [{"schema_version": SCHEMA_VERSION, **row} for row in members]
    tables = {
        "history": history if isinstance(history, pa.Table) else to_table(HISTORY_SCHEMA, history, "history"),
        "predictions": to_table(PREDICTIONS_SCHEMA, predictions, "predictions"),
        "members": to_table(schema, rows, "members"),
    }
    if [(f.name, f.type) for f in tables["history"].schema] != [(f.name, f.type) for f in HISTORY_SCHEMA]:
        raise TypeError(f"results: history has the columns {HISTORY_SCHEMA.names}, not {tables['history'].schema}")
    tables["history"] = conformed(tables["history"], HISTORY_SCHEMA)
    _check_members(stem, rows, tables)
    folder = store.child("trials")
    for kind, table in tables.items():
        folder.write(f"{stem}.{kind}.parquet", encode_table(table))


def _check_members(stem: str, rows: Sequence[Row], tables: Mapping[str, pa.Table]) -> None:
    keys = [(row["trial_id"], row["seed"]) for row in rows]
    if not keys or len(set(keys)) < len(keys):
        raise ValueError(f"results: {stem}: {'a member is given twice' if keys else 'no members'}: {keys}")
    for name, allowed in (("stage", (*STAGES, LENT, *OLD_STAGES)), ("status", STATUSES)):
        for value in {row.get(name) for row in rows} - set(allowed):
            raise ValueError(f"results: {stem}: {name} is {value!r}; it is one of {', '.join(allowed)}")
    for kind in ("history", "predictions"):
        pairs = tables[kind].select(["trial_id", "seed"]).group_by(["trial_id", "seed"]).aggregate([]).to_pylist()
        strange = sorted({(pair["trial_id"], pair["seed"]) for pair in pairs} - set(keys))
        if strange:
            raise ValueError(f"results: {stem}: {kind} of {strange[0]}, which is not among the members {keys}")

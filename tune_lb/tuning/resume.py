"""What earlier calls of a search left: members that are there already, and what is to be trained again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tune_lb.metrics.metric import Metric
from tune_lb.results.code_versions import counts
from tune_lb.results.member_rows import holds_failures
from tune_lb.results.merger import Merger
from tune_lb.results.storage import Store
from tune_lb.tuning.replay import Scores, scored_columns, scores_of
from tune_lb.tuning.run_context import RunContext


@dataclass(frozen=True)
class Stored:
    """What earlier calls left."""

    scored: Scores
    """Scores of the members that are there already."""
    failed: list[str]
    """Files of members that failed, to be deleted: they are trained again."""
    left_out: list[str]
    """One line per result file that cannot be used: its members are trained again."""
    damaged: list[str] = field(default_factory=list)
    """One line per file that was damaged and is set aside, with what becomes of it."""


def stored_members(run: Store, context: RunContext, damaged: Sequence[str] = ()) -> Stored:
    """Read the result files of a run, and say which members they hold. damaged: what was set aside before."""
    merger = Merger(run, context.schema())
    merger.add_new()
    # rows of code that has changed stay, and nothing is made of them
    table = merger.table()
    columns = dict.fromkeys([*scored_columns(table.schema.names, context.objectives), "arm", "code"])
    rows = [row for row in table.select(list(columns)).to_pylist() if counts(row, context.code)]
    scored = scores_of(rows, context.objectives)
    failed = {(row["trial_id"], row["seed"]) for row in rows} - scored.keys()
    names = run.child("trials").list(suffix=".parquet") if failed else []
    return Stored(scored, [name for name in names if holds_failures(name)], merger.problems, list(damaged))


def unmeasured(members: pa.Table, context: RunContext) -> dict[str, int]:
    """Return by metric how many members should have been measured and were not: the search was killed while they were.

    Where a metric could not be measured its reason is stored, and it does not count.
    """
    names = set(members.schema.names)
    found = {}
    for metric in context.metrics:
        columns = [name for name in _columns(metric) if name in names]
        rows = members.select(["stage", "status", "block", "seed", *dict.fromkeys(columns)]).to_pylist()
        missing = [row for row in rows if _lacks(row, metric, context)]
        if missing:
            found[metric.name] = len(missing)
    return found


def lacks(row: Mapping[str, Any], context: RunContext) -> bool:
    """Say whether a member was trained, and what is to be measured of it is not there."""
    return any(_lacks(row, metric, context) for metric in context.metrics)


def _lacks(row: Mapping[str, Any], metric: Metric, context: RunContext) -> bool:
    measured = row["status"] == "completed" and metric in context.metrics_of(row["stage"], row["block"], row["seed"])
    return measured and all(row.get(name) is None for name in _columns(metric))


def _columns(metric: Metric) -> tuple[str, ...]:
    return (*metric.columns(), f"{metric.name}.reason")

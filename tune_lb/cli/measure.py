"""measure: metrics on the stored members of a run, without training them again."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tune_lb.cli.output import Output, duration, number, on_run
from tune_lb.cli.runs import check_run_name, find_run, space_of_run
from tune_lb.errors import RequestError, nearest
from tune_lb.metrics.measuring import main_values
from tune_lb.metrics.metric import Metric, prefixed
from tune_lb.metrics.names import as_metrics
from tune_lb.observation.remeasure import Row, is_measured, remeasure, who
from tune_lb.observation.stored_members import StoredMembers
from tune_lb.results.code_versions import counts
from tune_lb.results.merger import Merger
from tune_lb.results.run_files import read_members, read_space
from tune_lb.results.storage import StorageError, Store
from tune_lb.space.checks import checked_designs
from tune_lb.tuning.run_context import make_context
from tune_lb.tuning.signals import sigterm_interrupts

DONE, PARTIAL = 0, 3


def run(given: argparse.Namespace, out: Output) -> int:
    """Measure what is missing, member by member, each stored at once, and merge the results."""
    metrics = as_metrics(given.metric or ["lambda_max"])
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    known = read_space(store)
    space = space_of_run(known)
    rows = [row for row in read_members(store)[0].to_pylist() if counts(row, known.get("code", {}))]
    target = store if given.out is None else Store(given.out).child(given.name)
    try:
        target.check_writable()
    except StorageError as error:
        raise RequestError(f"measure stores what it finds: {error}; --out FOLDER stores it elsewhere") from error
    stored = StoredMembers(store, space, "cuda" if torch.cuda.is_available() else "cpu")
    chosen = _chosen(stored, rows, given)
    todo = [
        (row, metric)
        for row in chosen
        for metric in metrics
        if given.again or not is_measured(row, metric, given.split)
    ]
    there = len(chosen) * len(metrics) - len(todo)
    if there:
        out.line(f"{there:,} of {len(chosen) * len(metrics):,} are measured already (--again measures them anew)")
    failures: list[str] = []
    try:
        with sigterm_interrupts():
            failures = remeasure(target, stored, todo, given.split, Lines(out, len(todo)))
    finally:
        # what was measured before an interruption is in the results as well
        merger = Merger(store, make_context(given.name, store, space, checked_designs(space), {}, {}).schema())
        merger.add_new()
        # elsewhere the run is left as it is
        merged = merger.write() if given.out is None else merger.found()
    for line in (*failures, *merged.problems):
        out.line(line, style="red")
    measured = len(todo) - len(failures)
    columns = ", ".join(prefixed(metric.name, given.split) for metric in metrics)
    where = f"{store.location}/results" if given.out is None else f"{target.location}/measurements"
    out.line(f"{measured:,} measured, columns {columns} in {where}")
    result = {"run": given.name, "measured": measured, "there_before": there, "failures": failures}
    out.close(result | {"problems": list(merged.problems)}, on_run("report", given.name, given.storage))
    return PARTIAL if failures else DONE


def _chosen(stored: StoredMembers, rows: Sequence[Row], given: argparse.Namespace) -> list[Row]:
    arms = sorted({row["arm"] for row in rows})
    unknown = [f"the run has no arm {arm!r}{nearest(arm, arms)}" for arm in given.arm or [] if arm not in arms]
    if unknown:
        raise RequestError(unknown)
    found = [row for row in stored.stored(rows) if not given.arm or row["arm"] in given.arm]
    if not found:
        raise RequestError(
            "no weights are stored: members keep theirs when they are confirmed; let the search go on first"
        )
    # members of one split after the other: its data are loaded once
    return sorted(found, key=lambda row: (row["split_seed"], row["arm"], row["trial_id"], row["seed"]))


class Lines:
    """Prints a line for each value when it is there, with the time that is left."""

    def __init__(self, out: Output, total: int) -> None:
        self.out, self.total, self.done = out, total, 0
        self.started = time.monotonic()

    def __call__(self, row: Row, metric: Metric, values: Mapping[str, Any]) -> None:
        """Print what was found."""
        self.done += 1
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        line = f"{self.done:>4,} of {self.total:,}  {who(row)}  {_shown(metric, values)}  ({duration(left)} left)"
        self.out.line(line)


def _shown(metric: Metric, found: Mapping[str, Any]) -> str:
    reason = found.get(f"{metric.name}.reason")
    values = [f"{name} {number(value)}" for name, value in main_values(metric, found).items()]
    return f"{metric.name} not measured: {reason}" if reason else "  ".join(values[:4])

"""measure: metrics on the stored members of a run, without training them again."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tune_lb.archive import Archive, Archived, differs, member_surfaces
from tune_lb.catalog import as_metrics
from tune_lb.changes import changes
from tune_lb.cli.asked import FIELD_OPTIONS, asked_space, check_run_name
from tune_lb.cli.output import Output, duration, number, on_run
from tune_lb.cli.status import find_run
from tune_lb.columns import metric_columns
from tune_lb.context import make_context
from tune_lb.errors import RequestError, nearest
from tune_lb.interruption import sigterm_interrupts
from tune_lb.loading import space_names
from tune_lb.measurements import write_measurement
from tune_lb.member_surfaces import MemberSurfaces
from tune_lb.merger import Merger
from tune_lb.metric import Metric, main_values, member_values, prefixed
from tune_lb.outcome import METRIC_SEED
from tune_lb.results import read_members, read_space
from tune_lb.space import Space
from tune_lb.storage import Store

DONE, PARTIAL = 0, 3
SPLITS = ("train", "validation", "test")

AT_ONCE = 8
"""Most members whose weights are read at a time."""

Row = Mapping[str, Any]


def run(given: argparse.Namespace, out: Output) -> int:
    """Measure what is missing, member by member, each stored at once, and merge the results."""
    metrics = as_metrics(given.metric or ["lambda_max"])
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    known = read_space(store)
    space = _space(known)
    rows = read_members(store)[0].to_pylist()
    archive = Archive(store, space, "cuda" if torch.cuda.is_available() else "cpu")
    chosen = _chosen(archive, rows, given)
    todo = [
        (row, metric) for row in chosen for metric in metrics if given.again or not _is_there(row, metric, given.split)
    ]
    there = len(chosen) * len(metrics) - len(todo)
    if there:
        out.line(f"{there:,} of {len(chosen) * len(metrics):,} are measured already (--again measures them anew)")
    failures: list[str] = []
    try:
        with sigterm_interrupts():
            failures = _measure(out, store, archive, todo, given.split)
    finally:
        # what was measured before an interruption is in the results as well
        merger = Merger(store, make_context(given.name, store, space, space.designs(), {}, {}).schema())
        merger.add_new()
        merged = merger.write()
    for line in (*failures, *merged.problems):
        out.line(line, style="red")
    measured = len(todo) - len(failures)
    out.line(
        f"{measured:,} measured, columns {', '.join(prefixed(m.name, given.split) for m in metrics)} in {store.location}/results"
    )
    result = {"run": given.name, "measured": measured, "there_before": there, "failures": failures}
    out.close(result | {"problems": list(merged.problems)}, on_run("report", given.name, given.storage))
    return PARTIAL if failures else DONE


def _space(known: Mapping[str, Any]) -> Space:
    asked = known.get("asked", {})
    if "space" not in asked:
        raise RequestError("the run does not say which space it was made of; it was not made by `search`")
    where = asked["space"] if asked["space"] in space_names() else asked.get("path", asked["space"])
    options = {key: value for key, value in asked.get("options", {}).items() if key in FIELD_OPTIONS}
    _, space = asked_space(where, asked.get("overrides", []), options)
    lines = changes(known["resolved"], space.description())
    if lines:
        raise RequestError(
            "\n".join(
                ["the space has changed since the run, so its members cannot be made again. What differs:", *lines[:12]]
            )
        )
    return space


def _chosen(archive: Archive, rows: Sequence[Row], given: argparse.Namespace) -> list[Row]:
    arms = sorted({row["arm"] for row in rows})
    unknown = [f"the run has no arm {arm!r}{nearest(arm, arms)}" for arm in given.arm or [] if arm not in arms]
    if unknown:
        raise RequestError(unknown)
    found = [row for row in archive.stored(rows) if not given.arm or row["arm"] in given.arm]
    if not found:
        raise RequestError(
            "no weights are stored: members keep theirs when they are confirmed; let the search go on first"
        )
    # members of one split after the other: its data are loaded once
    return sorted(found, key=lambda row: (row["split_seed"], row["arm"], row["trial_id"], row["seed"]))


def _is_there(row: Row, metric: Metric, split: str) -> bool:
    # one that could not be measured has a reason
    return any(row.get(prefixed(name, split)) is not None for name in metric.columns())


def _measure(out: Output, store: Store, archive: Archive, todo: Sequence[tuple[Row, Metric]], split: str) -> list[str]:
    failures = []
    started = time.monotonic()
    missing: dict[tuple[str, int], tuple[Row, list[Metric]]] = {}
    for row, metric in todo:
        missing.setdefault((row["trial_id"], row["seed"]), (row, []))[1].append(metric)
    done = 0
    for rows, metrics in _groups(list(missing.values())):
        left = {(k, metric.name) for k in range(len(rows)) for metric in metrics}
        found, lines = _surfaces(archive, rows, split)
        failures += [f"{_who(rows[k])}: {metric.name}: {line}" for k, line in lines.items() for metric in metrics]
        left -= {(k, metric.name) for k in lines for metric in metrics}
        numbers = [k for k in range(len(rows)) if k not in lines]
        try:
            for place, metric, values in member_values(metrics, found, METRIC_SEED) if found else ():
                row = rows[numbers[place]]
                _store(store, row, metric, split, values)
                left.discard((numbers[place], metric.name))
                now = done + len(rows) * len(metrics) - len(left)
                still = (time.monotonic() - started) / now * (len(todo) - now)
                out.line(f"{now:>4,} of {len(todo):,}  {_who(row)}  {_shown(metric, values)}  ({duration(still)} left)")
        except (RequestError, ValueError, RuntimeError) as error:
            line = " ".join(str(error).split())
            failures += [f"{_who(rows[k])}: {name}: {line}" for k, name in sorted(left)]
        done += len(rows) * len(metrics)
    return failures


def _groups(missing: Sequence[tuple[Row, list[Metric]]]) -> list[tuple[list[Row], list[Metric]]]:
    """Return members of one trial that lack the same metrics together: they can be measured in the same passes."""
    groups: dict[tuple[Any, ...], tuple[list[Row], list[Metric]]] = {}
    for row, metrics in missing:
        key = (row["split_seed"], row["trial_id"], tuple(metric.name for metric in metrics))
        rows = groups.setdefault(key, ([], metrics))[0]
        rows.append(row)
    return [(rows[i : i + AT_ONCE], metrics) for rows, metrics in groups.values() for i in range(0, len(rows), AT_ONCE)]


def _surfaces(archive: Archive, rows: Sequence[Row], split: str) -> tuple[MemberSurfaces | None, dict[int, str]]:
    """Return the surfaces of those members of one trial that can be read, and what is wrong with the others by number."""
    members: list[Archived] = []
    wrong: dict[int, str] = {}
    for k, row in enumerate(rows):
        try:
            member = archive.member(row)
            line = None
            if row["status"] != "diverged":
                with member.surface(split) as surface:
                    line = differs(surface, row.get(f"{split}_loss"))
            if line is not None:
                raise RequestError(line)
            members.append(member)
        except (RequestError, ValueError, RuntimeError) as error:
            wrong[k] = " ".join(str(error).split())
    return member_surfaces(members, split) if members else None, wrong


def _who(row: Row) -> str:
    return f"{row['arm']} seed {row['seed']}"


def _store(store: Store, row: Row, metric: Metric, split: str, found: Mapping[str, Any]) -> None:
    named = {prefixed(name, split): value for name, value in found.items()}
    described = {prefixed(name, split): text for name, text in metric.columns().items()}
    columns = metric_columns(described, [named])
    write_measurement(store, row["trial_id"], row["seed"], prefixed(metric.name, split), columns, named)


def _shown(metric: Metric, found: Mapping[str, Any]) -> str:
    reason = found.get(f"{metric.name}.reason")
    values = [f"{name} {number(value)}" for name, value in main_values(metric, found).items()]
    return f"{metric.name} not measured: {reason}" if reason else "  ".join(values[:4])

"""Metrics on the stored members of a run, without training them again: members of one trial in the same passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tune_lb.errors import RequestError, one_line
from tune_lb.metrics.measuring import member_values
from tune_lb.metrics.metric import Metric, Value, prefixed
from tune_lb.observation.outcome import METRIC_SEED
from tune_lb.observation.stored_members import StoredMember, StoredMembers, differs, member_surfaces
from tune_lb.results.columns import metric_columns
from tune_lb.results.measurements import write_measurement
from tune_lb.results.storage import Store
from tune_lb.surface.member_surfaces import MemberSurfaces

AT_ONCE = 8
"""Most members whose weights are read at a time."""

Row = Mapping[str, Any]
OnMeasured = Callable[[Row, Metric, Mapping[str, Value]], None]


def remeasure(
    store: Store,
    stored: StoredMembers,
    todo: Sequence[tuple[Row, Metric]],
    split: str,
    on_measured: OnMeasured = lambda row, metric, values: None,
) -> list[str]:
    """Measure each metric on each member, store what is found at once, and return a line for each that could not be measured.

    store: the run's folder. todo: rows of the members table, each with a metric. split: train, validation or test.
    on_measured: told of every value when it is stored.
    """
    failures: list[str] = []
    missing: dict[tuple[str, int], tuple[Row, list[Metric]]] = {}
    for row, metric in todo:
        missing.setdefault((row["trial_id"], row["seed"]), (row, []))[1].append(metric)
    for rows, metrics in _groups(list(missing.values())):
        left = {(k, metric.name) for k in range(len(rows)) for metric in metrics}
        found, lines = _surfaces(stored, rows, split)
        failures += [f"{who(rows[k])}: {metric.name}: {line}" for k, line in lines.items() for metric in metrics]
        left -= {(k, metric.name) for k in lines for metric in metrics}
        numbers = [k for k in range(len(rows)) if k not in lines]
        try:
            for place, metric, values in member_values(metrics, found, METRIC_SEED) if found else ():
                row = rows[numbers[place]]
                _store(store, row, metric, split, values)
                left.discard((numbers[place], metric.name))
                on_measured(row, metric, values)
        except Exception as error:  # raised by the user's network, loss or metric: the other members are measured
            line = _line(error)
            failures += [f"{who(rows[k])}: {name}: {line}" for k, name in sorted(left)]
    return failures


def who(row: Row) -> str:
    """Return what a member is called in a line."""
    return f"{row['arm']} seed {row['seed']}"


def is_measured(row: Row, metric: Metric, split: str) -> bool:
    """Say whether a metric was measured on a member, or could not be for a reason that is stored."""
    return any(row.get(prefixed(name, split)) is not None for name in metric.columns())


def _groups(missing: Sequence[tuple[Row, list[Metric]]]) -> list[tuple[list[Row], list[Metric]]]:
    """Return members of one trial that lack the same metrics together: they can be measured in the same passes."""
    groups: dict[tuple[Any, ...], tuple[list[Row], list[Metric]]] = {}
    for row, metrics in missing:
        key = (row["split_seed"], row["trial_id"], tuple(metric.name for metric in metrics))
        rows = groups.setdefault(key, ([], metrics))[0]
        rows.append(row)
    return [(rows[i : i + AT_ONCE], metrics) for rows, metrics in groups.values() for i in range(0, len(rows), AT_ONCE)]


def _surfaces(stored: StoredMembers, rows: Sequence[Row], split: str) -> tuple[MemberSurfaces | None, dict[int, str]]:
    """Return the surfaces of those members of one trial that can be read, and what is wrong with the others by number."""
    members: list[StoredMember] = []
    wrong: dict[int, str] = {}
    for k, row in enumerate(rows):
        try:
            member = stored.member(row)
            line = None
            if row["status"] != "diverged":
                with member.surface(split) as surface:
                    line = differs(surface, row.get(f"{split}_loss"))
            if line is not None:
                raise RequestError(line)
            members.append(member)
        except Exception as error:  # as above
            wrong[k] = _line(error)
    return member_surfaces(members, split) if members else None, wrong


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) if isinstance(error, RequestError) else one_line(error)


def _store(store: Store, row: Row, metric: Metric, split: str, found: Mapping[str, Any]) -> None:
    named = {prefixed(name, split): value for name, value in found.items()}
    described = {prefixed(name, split): text for name, text in metric.columns().items()}
    columns = metric_columns(described, [named])
    write_measurement(store, row["trial_id"], row["seed"], prefixed(metric.name, split), columns, named)

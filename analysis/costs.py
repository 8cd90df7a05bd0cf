"""What each arm cost, and which code made the run, as tables of its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.document import Table, table
from analysis.notation import MISSING, count, known, significant
from analysis.run import Run

MOST_VALUES = 4
NAMES = {
    "tune_lb_version": "tune_lb",
    "torch_version": "PyTorch",
    "git_commit": "commit of tune_lb",
    "finished_at": "trained",
}


def cost_table(results: Run, arms: pd.DataFrame) -> Table:
    """Of a confirm member, and of everything that was trained for the arm."""
    members = results.members.groupby("arm").size()
    records: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()} for row in arms.to_dict("records")
    ]
    rows: list[dict[str, str]] = [
        {
            "arm": str(row["arm"]),
            "updates": count(row["updates"]),
            "gradient evaluations an update": _ratio(row, "gradient_evaluations", "updates"),
            "examples": count(row.get("examples", float("nan"))),
            "seconds": significant(row.get("wall_s", float("nan"))),
            "peak memory, MB": count(row.get("peak_memory_bytes", float("nan")) / 1e6),
            "members in all": count(int(members.get(str(row["arm"]), 0))),
            "gradient evaluations in all": count(row.get("total_gradient_evaluations", float("nan"))),
            "seconds in all": significant(row.get("total_wall_s", float("nan")), 3),
        }
        for row in records
        if members.get(str(row["arm"]), 0)
    ]
    empty = {name for row in rows for name in row if all(other[name] == MISSING for other in rows)}
    return table("cost", [{name: text for name, text in row.items() if name not in empty} for row in rows])


def _ratio(row: Mapping[str, Any], above: str, below: str) -> str:
    over, under = row.get(above), row.get(below)
    return f"{over / under:.3g}" if known(over) and known(under) and under else MISSING


def provenance_table(results: Run) -> Table:
    """Which code, machine and way of execution the members have, and when they were trained."""
    members = results.members
    found: dict[str, str] = {}
    roles = results.frames.roles
    for name in [name for name in map(str, members.columns) if roles.get(name) == "provenance" and name != "code"]:
        values = sorted(map(str, members[name].dropna().unique()))
        if name == "finished_at":
            values = (
                [f"{values[0][:16].replace('T', ' ')} to {values[-1][:16].replace('T', ' ')} UTC"] if values else []
            )
        if values:
            more = f" and {len(values) - MOST_VALUES} more" if len(values) > MOST_VALUES else ""
            found[NAMES.get(name, name)] = ", ".join(values[:MOST_VALUES]) + more
    found["members"] = count(len(members))
    found["space"] = str(results.space.get("hash") or MISSING)
    return table("provenance", [{"provenance": name, "": text} for name, text in found.items()])

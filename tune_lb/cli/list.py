"""list: the runs in a storage."""

from __future__ import annotations

import argparse
from typing import Any

from rich import box
from rich.table import Table

from tune_lb.cli.output import Output, command, on_run, size
from tune_lb.cli.runs import run_names
from tune_lb.errors import RequestError
from tune_lb.results.lock import holder
from tune_lb.results.run_files import read_members, read_space
from tune_lb.results.storage import Store


def run(given: argparse.Namespace, out: Output) -> int:
    """Print a line for each run: its members, its size, who searches it, and the first sentence of its answer."""
    runs = Store(given.storage)
    found = [_facts(runs, name) for name in run_names(runs)]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for header in ("run", "members", "size", "state", "answer"):
        table.add_column(
            header, justify="right" if header in ("members", "size") else "left", no_wrap=header != "answer"
        )
    for row in found:
        members = "" if row["members"] is None else f"{row['members']:,}"
        table.add_row(row["run"], members, size(row["bytes"]), row["state"], row["answer"] or "")
    if found:
        out.show(table)
    else:
        out.line(f"no runs in {runs.location}")
    following = on_run("status", found[-1]["run"], given.storage) if found else command("spaces")
    out.close({"storage": runs.location, "runs": found}, following)
    return 0


def _facts(runs: Store, name: str) -> dict[str, Any]:
    store = runs.child(name)
    try:
        read_space(store)
        members, problems = read_members(store)
        searching = holder(store)
        state = f"being searched (process {searching.pid} on {searching.host})" if searching is not None else ""
        state = state or ("something is damaged: see `check`" if problems else "at rest")
        count: int | None = members.num_rows
    except RequestError:
        count, state = None, "space.json is damaged: see `check`"
    return {"run": name, "members": count, "bytes": store.size_bytes(), "state": state, "answer": _answer(store)}


def _answer(store: Store) -> str | None:
    """Return the first sentence of the answer in the run's report, where it has one."""
    try:
        lines = store.read("report/report.md").decode().splitlines() if store.exists("report/report.md") else []
    except (RequestError, UnicodeDecodeError):
        return None
    after = lines[lines.index("## Answer") + 1 :] if "## Answer" in lines else []
    return next((line.removeprefix("* ") for line in after if line.startswith("* ")), None)

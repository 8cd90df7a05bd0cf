"""remove: delete a run with all that it holds."""

from __future__ import annotations

import argparse

from tune_lb.cli.output import Output, command, on_run, size
from tune_lb.cli.runs import check_run_name, find_run
from tune_lb.errors import RequestError
from tune_lb.results.lock import holder


def run(given: argparse.Namespace, out: Output) -> int:
    """Say what would be deleted; with --yes, delete it. Refused while somebody searches the run."""
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    found = holder(store)
    if found is not None:
        raise RequestError(
            f"run {given.name!r} is being searched by {found}: end that first (`{on_run('stop', given.name, given.storage)}`)"
        )
    held = size(store.size_bytes())
    if not given.yes:
        out.line(f"{store.location} holds {held}; nothing was deleted")
        out.close({"run": given.name, "removed": False}, on_run("remove", given.name, given.storage, "--yes"))
        return 0
    store.delete_all()
    out.line(f"deleted: {store.location}, {held}")
    out.close({"run": given.name, "removed": True}, command("list"))
    return 0

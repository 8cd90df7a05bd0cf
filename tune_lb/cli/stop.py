"""stop: end the search of a run from another terminal or machine, as Ctrl-C would there."""

from __future__ import annotations

import argparse
import os
import signal
import time

from tune_lb.cli.output import Output, on_run
from tune_lb.cli.runs import check_run_name
from tune_lb.results.lock import BEAT_S, ask_to_stop, holder
from tune_lb.results.storage import Store

DONE, FAILED = 0, 1
WAIT_S = 60.0
"""How long to wait for the search to end."""


def run(given: argparse.Namespace, out: Output) -> int:
    """Ask whoever searches the run to stop, and wait until it has."""
    check_run_name(given.name)
    store = Store(given.storage).child(given.name)
    found = holder(store)
    if found is None:
        out.line(f"nobody searches {store.location}")
        out.close({"run": given.name, "stopped": False}, on_run("status", given.name, given.storage))
        return DONE
    if found.is_here:
        os.kill(found.pid, signal.SIGTERM)
    else:
        ask_to_stop(store)
    out.line(f"asked to stop: {found}")
    end = time.monotonic() + WAIT_S + BEAT_S
    while (still := holder(store)) is not None and still.token == found.token and time.monotonic() < end:
        time.sleep(0.2)
    over = still is None or still.token != found.token
    out.line(
        "it has stopped; the same search command goes on"
        if over
        else f"it still runs after {WAIT_S:.0f} s; kill it there"
    )
    out.close({"run": given.name, "stopped": over}, on_run("status", given.name, given.storage))
    return DONE if over else FAILED

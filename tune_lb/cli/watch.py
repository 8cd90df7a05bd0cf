"""status --watch: a run looked at again and again, from another terminal or machine, while somebody searches it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import monotonic, sleep
from typing import Any

from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tune_lb.cli.output import Output, duration
from tune_lb.cli.progress import LINE_EVERY_S
from tune_lb.cli.standing import Look, Standing

EVERY_S = 2.0
LOOKS = 3.0
"""Seconds between two looks where somebody watches; at least so many times what a look took."""


def watched(standing: Standing, out: Output) -> Look:
    """Show where a run stands until its search ends; return the last look. A plain line a minute where stdout is no terminal.

    Ctrl-C ends the watching, not the search.
    """
    every_s = EVERY_S if out.is_terminal else LINE_EVERY_S
    live = Live(console=out.console, auto_refresh=False, transient=True) if out.is_terminal else None
    look, took_s = _timed(standing)
    try:
        if live is not None:
            live.start()
        while look.searching is not None:
            if live is None:
                out.line(counts(look))
            else:
                live.update(Group(_table(look), Text(counts(look))), refresh=True)
            sleep(max(every_s, LOOKS * took_s))
            look, took_s = _timed(standing)
    except KeyboardInterrupt:
        pass
    finally:
        if live is not None:
            live.stop()
    return look


def _timed(standing: Standing) -> tuple[Look, float]:
    began = monotonic()
    return standing.look(), monotonic() - began


def counts(look: Look) -> str:
    """Return how many members are there, how many failed, and about how long it goes on."""
    done, total = look.members()
    left_s = look.left_s()
    left = "" if left_s is None else f", about {duration(max(1.0, left_s))} left"
    failed = sum(arm["failed"] for arm in look.arms)
    of = f" of {total:,}" if total is not None else ""
    return f"{done:,}{of} members{f', {failed:,} failed' if failed else ''}{left}"


def _table(look: Look) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    best = look.best
    for header in ("arm", "stage", "", "members", f"best {best.replace('_', ' ')}"):
        table.add_column(header, justify="right" if header[:4] in ("memb", "best") else "left", no_wrap=True)
    for arm in look.arms:
        done = sum(arm[stage]["done"] for stage in look.stages)
        total = sum(arm[stage]["total"] or 0 for stage in look.stages)
        stage = next((s for s in look.stages if arm[s]["done"] < (arm[s]["total"] or 0)), "done")
        bar = ProgressBar(total=max(total, 1), completed=done, width=20)
        style = "dim" if stage == "done" else None
        table.add_row(arm["arm"], stage, bar, f"{done:,} of {total:,}", _best(look, arm, best), style=style)
    return table


def _best(look: Look, arm: Mapping[str, Any], column: str) -> str:
    own = (
        row for row in look.rows if row["arm"] == arm["arm"] and row["stage"] == "search" and row["status"] != "stopped"
    )
    values = [value for row in own if (value := row.get(column)) is not None and math.isfinite(value)]
    return f"{min(values):.4g}" if values else ""

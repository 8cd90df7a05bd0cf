"""status: how far a run is, from its files alone: it may be running, interrupted, or on another machine."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from rich import box
from rich.table import Table

from tune_lb.cli.answer import show_left_out
from tune_lb.cli.asked import search_command
from tune_lb.cli.output import Output, duration, on_run
from tune_lb.cli.runs import asked_here, check_run_name, find_run
from tune_lb.cli.standing import Standing, age_s
from tune_lb.cli.watch import watched


def run(given: argparse.Namespace, out: Output) -> int:
    """Print members per arm and stage, when something happened last, and what is wrong; --watch: again and again until it ends."""
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    standing = Standing(store)
    look = watched(standing, out) if given.watch else standing.look()
    out.paragraph(str(look.known.get("question", "")), style="bold")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for header in ("arm", *look.stages, "diverged", "failed"):
        table.add_column(header, justify="left" if header == "arm" else "right", no_wrap=True)
    for arm in look.arms:
        shares = [_share(arm[stage]["done"], arm[stage]["total"]) for stage in look.stages]
        table.add_row(arm["arm"], *shares, str(arm["diverged"] or ""), str(arm["failed"] or ""))
    out.show(table)
    out.line()
    state = "done" if look.finished else "not done"
    out.line(f"{len(look.rows):,} members in {store.location}: {state}; last activity {_ago(look.last_activity)}")
    if look.searching is not None:
        out.line(f"being searched by {look.searching}")
    failures = look.failures()
    for (arm_name, reason), times in failures.items():
        out.line(f"failed ({times}): arm {arm_name!r}: {reason}", style="red")
    if failures and look.searching is None:
        out.line(f"they alone are trained again by: {on_run('retry', given.name, given.storage)}")
    if look.other_code:
        out.line(f"{look.other_code:,} more were trained with code that has changed since, and are left out")
    show_left_out(out, look.problems)
    result = {"run": given.name, "location": store.location, "done": look.finished}
    result |= {"last_activity": look.last_activity, "arms": look.arms}
    found = look.searching
    result["searched_by"] = None if found is None else {"host": found.host, "pid": found.pid, "since": found.since}
    again = search_command(asked_here(look.known, given.name, given.storage))
    following = on_run("report", given.name, given.storage) if look.finished else again
    out.close(result | {"members": len(look.rows), "problems": look.problems}, following)
    return 0


def _share(done: int, total: int | None) -> str:
    if total is None:
        return f"{done:,}"
    return f"{done:,} of {total:,}" if total or done else "-"


def _ago(time: str | None) -> str:
    age = age_s(time)
    if time is None or age is None:
        return "none"
    then = datetime.fromisoformat(time)
    return f"{duration(age)} ago ({then if then.tzinfo is None else then.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"

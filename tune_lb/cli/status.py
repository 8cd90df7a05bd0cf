"""status: how far a run is, from its files alone: it may be running, interrupted, or on another machine."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.table import Table

from tune_lb.cli.answer import show_left_out
from tune_lb.cli.asked import search_command
from tune_lb.cli.output import Output, duration, on_run
from tune_lb.cli.runs import check_run_name, find_run, space_of_run
from tune_lb.errors import RequestError
from tune_lb.results.code_versions import counts
from tune_lb.results.columns import FINISHED, LENT, OLD_STAGES, STAGES
from tune_lb.results.ledger import Ledger
from tune_lb.results.lock import holder
from tune_lb.results.run_files import read_members, read_space
from tune_lb.results.storage import Store
from tune_lb.tuning.replay import of_old_design, replayed_run

COLUMNS = ("arm", "stage", "status", "trial_id", "finished_at", "error")


def run(given: argparse.Namespace, out: Output) -> int:
    """Print members per arm and stage, when something happened last, and what is wrong."""
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    known = read_space(store)
    members, problems = read_members(store)
    ledger = Ledger(store.child("ledger"))
    events = ledger.events()
    columns = [name for name in (*COLUMNS, "code") if name in members.schema.names]
    every = members.select(columns).to_pylist()
    rows = [row for row in every if counts(row, known.get("code", {}))]
    stages: tuple[str, ...] = OLD_STAGES if of_old_design(known) else STAGES
    if any(row["stage"] == LENT for row in rows):
        stages = (*stages[:-1], LENT, stages[-1])
    confirmed = _confirmed(store, known)
    arms = [_arm(arm, known, rows, stages, confirmed.get(arm["name"])) for arm in known["arms"]]
    out.paragraph(str(known.get("question", "")), style="bold")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for header in ("arm", *stages, "diverged", "failed"):
        table.add_column(header, justify="left" if header == "arm" else "right", no_wrap=True)
    for arm in arms:
        shares = [_share(arm[stage]["done"], arm[stage]["total"]) for stage in stages]
        table.add_row(arm["arm"], *shares, str(arm["diverged"] or ""), str(arm["failed"] or ""))
    out.show(table)
    out.line()
    totals = [(arm["confirm"]["done"], arm["confirm"]["total"]) for arm in arms]
    finished = all(total is not None and done >= total for done, total in totals)
    times = [row["finished_at"] for row in rows if row["finished_at"]] + [event.time for event in events]
    last = max(times, default=None)
    state = "done" if finished else "not done"
    out.line(f"{len(rows):,} members in {store.location}: {state}; last activity {_ago(last)}")
    searching = holder(store)
    if searching is not None:
        out.line(f"being searched by {searching}")
    for text, times_seen in Counter(str(row["error"]) for row in rows if row["status"] not in FINISHED).items():
        out.line(f"failed ({times_seen}): {text.strip().splitlines()[-1]}", style="red")
    if len(every) > len(rows):
        out.line(f"{len(every) - len(rows):,} more were trained with code that has changed since, and are left out")
    show_left_out(out, problems + ledger.problems)
    result = {"run": given.name, "location": store.location, "done": finished, "last_activity": last, "arms": arms}
    result["searched_by"] = (
        None if searching is None else {"host": searching.host, "pid": searching.pid, "since": searching.since}
    )
    following = on_run("report", given.name, given.storage) if finished else search_command(known.get("asked", {}))
    out.close(result | {"members": len(rows), "problems": problems + ledger.problems}, following)
    return 0


def _arm(
    arm: Mapping[str, Any],
    known: Mapping[str, Any],
    rows: list[dict[str, Any]],
    stages: Sequence[str],
    confirmed: int | None,
) -> dict[str, Any]:
    """Return members done and expected by stage."""
    own = [row for row in rows if row["arm"] == arm["name"]]
    done = Counter(row["stage"] for row in own if row["status"] in FINISHED)
    total = _expected(arm, known, confirmed)
    statuses = Counter(row["status"] for row in own)
    failed = sum(number for status, number in statuses.items() if status not in FINISHED)
    found = {stage: {"done": done[stage], "total": total.get(stage)} for stage in stages}
    return {"arm": arm["name"], **found, "diverged": statuses["diverged"], "failed": failed}


def _confirmed(store: Store, known: Mapping[str, Any]) -> dict[str, int]:
    """Return how many confirm members each arm is known to need, of a run that goes on until differences are known."""
    if of_old_design(known) or isinstance(known["confirm_blocks"], int):
        return {}
    try:
        state = replayed_run(store, space_of_run(known), known)
    except RequestError:
        return {}  # its space has changed or is gone; what is there is counted all the same
    return {arm: state.expected(arm)["confirm"] for arm in state.arms}


def _expected(arm: Mapping[str, Any], known: Mapping[str, Any], confirmed: int | None) -> dict[str, int | None]:
    samples = arm["num_samples"] if arm["dimensions"] else 0
    if of_old_design(known):
        # which were rescreened was known only when the search stage was done
        splits = len(known["split_seeds"])
        searched = samples * known["seeds"] * splits
        confirmed = known["confirm_seeds"] * splits
        return {"search": searched, "rescreen": None if searched else 0, "confirm": confirmed}
    samples = samples if samples > 1 else 0
    kept = min(known["candidates"], samples)
    if isinstance(known["confirm_blocks"], int):
        confirmed = known["confirm_blocks"] * known["block_seeds"]
    return {"search": samples, "decide": kept * known["decide_blocks"] if kept > 1 else 0, "confirm": confirmed}


def _share(done: int, total: int | None) -> str:
    if total is None:
        return f"{done:,}"
    return f"{done:,} of {total:,}" if total or done else "-"


def _ago(time: str | None) -> str:
    if time is None:
        return "none"
    then = datetime.fromisoformat(time)
    seconds = (datetime.now(UTC) - (then if then.tzinfo else then.replace(tzinfo=UTC))).total_seconds()
    return f"{duration(max(0.0, seconds))} ago ({then:%Y-%m-%d %H:%M} UTC)"

"""landscape: loss and error between two members of a run, or around one, as a table and a figure."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from tune_lb.cli.answer import AnalysisError, run_analysis
from tune_lb.cli.output import Output, duration, number, on_run
from tune_lb.cli.runs import check_run_name, find_run, space_of_run
from tune_lb.errors import RequestError, nearest, user_code
from tune_lb.observation.landscape import (
    LANDSCAPE,
    PATH_SPAN,
    SLICE_SPAN,
    Point,
    grid,
    measured,
    mismatch,
    paths,
    slices,
)
from tune_lb.observation.stored_members import StoredMember, StoredMembers
from tune_lb.results.code_versions import counts
from tune_lb.results.run_files import read_members, read_space
from tune_lb.results.tables import encode_table, to_table

Row = Mapping[str, Any]
ENDS = ("train_loss", "train_error", "test_loss", "test_error")


def run(given: argparse.Namespace, out: Output) -> int:
    """Measure every point, store the table, draw it."""
    check_run_name(given.name)
    _check(given)
    store = find_run(given.name, given.storage)
    known = read_space(store)
    space = space_of_run(known)
    archive = StoredMembers(store, space, "cuda" if torch.cuda.is_available() else "cpu")
    there = [row for row in read_members(store)[0].to_pylist() if counts(row, known.get("code", {}))]
    rows = chosen(archive.stored(there), [m for m in (given.a, given.b) if m], given.name)
    threads = torch.get_num_threads()
    # float32 sums differ between thread counts: with the member's own the ends are those of its row
    torch.set_num_threads(int(rows[0]["threads"] or threads))
    try:
        members = [archive.member(row) for row in rows]
        points, num_points = _points(given, members)
        found = _measured(given, out, members[0], points, num_points)
    finally:
        torch.set_num_threads(threads)
    shared = _identity(rows) | {"directions_seed": given.seed if len(rows) == 1 else None}
    name = _file_name(given, rows)
    table = to_table(LANDSCAPE, [row | shared for row in found], "landscape")
    folder = store.child("landscapes")
    folder.write(f"{name}.parquet", encode_table(table))
    differences = ends_differ(rows, found) if given.batch_norm == "recalibrate" else []
    for line in differences:
        out.line(line, style="yellow")
    _show(out, found)
    written = {"table": f"{folder.location}/{name}.parquet"}
    if not given.no_figure:
        written["figure"] = _drawn(given, name)
    for path in written.values():
        out.line(path)
    result = {"run": given.name, "points": len(found), "paths": written, "ends_differ": differences}
    out.close(result | shared, on_run("measure", given.name, given.storage, "--metric", "lambda_max"))
    return 0


def chosen(rows: Sequence[Row], asked: Sequence[str], run: str) -> list[Row]:
    """Return the members asked for: TRIAL_ID.SEED, or an arm, whose first confirmed member is taken.

    The first: of the lowest split and seed; for two arms in a split that both have, for the same arm twice the first
    two. Raises RequestError with what is there for names that are not, and for diverged members.
    """
    if not rows:
        raise RequestError(
            f"run {run} has no stored weights: confirmed members keep theirs; let the search go on first"
        )
    rows = sorted(rows, key=lambda row: (row["split_seed"], row["seed"], row["trial_id"]))
    named = {f"{row['trial_id']}.{row['seed']}": row for row in rows}
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    unknown = [name for name in asked if name not in named and name not in arms]
    if unknown:
        raise RequestError(
            f"run {run} has no arm and no member with stored weights called {name!r}"
            + nearest(name, [*arms, *(named if "." in name else ())])
            for name in unknown
        )
    found: list[Row] = []
    fixed = {named[name]["split_seed"] for name in asked if name in named}
    splits = [split for split in dict.fromkeys(row["split_seed"] for row in rows) if not fixed or split in fixed]
    for split in splits:
        found = []
        for name in asked:
            own = [named[name]] if name in named else [r for r in rows if r["arm"] == name and r["split_seed"] == split]
            left = [row for row in own if row["status"] == "completed" and row not in found]
            found += left[:1]
        if len(found) == len(asked):
            return found
    raise RequestError(
        f"run {run}: {' and '.join(asked)}: there are no {len(asked)} different members that have not diverged, in one split"
    )


def ends_differ(rows: Sequence[Row], found: Iterable[Row]) -> list[str]:
    """Return one line for each end of a path, or middle of a slice, whose numbers are not those of the member's row."""
    lines = []
    for index, row in enumerate(rows):
        for point in found:
            here = point["alpha"] == index and not point["beta"]
            wrong = [name for name in ENDS if here and point[name] != row[name]]
            if wrong:
                name = wrong[0]
                lines.append(
                    f"{point['kind']}: {name} at {row['arm']} seed {row['seed']} is {point[name]!r}, its row says "
                    f"{row[name]!r}: it was measured on other hardware ({row['device']}) or by another version"
                )
    return lines


def _check(given: argparse.Namespace) -> None:
    problems = []
    if given.b and given.plane:
        problems.append("--plane is around one member: leave B out")
    if given.points is not None and given.points < 2:
        problems.append(f"--points {given.points}: give at least 2")
    if problems:
        raise RequestError(problems)


def _points(given: argparse.Namespace, members: Sequence[StoredMember]) -> tuple[Iterable[Point], int]:
    if len(members) == 2:
        wrong = mismatch(members[0], members[1])
        if wrong:
            raise RequestError(f"{given.a} and {given.b}: {wrong}")
        alphas = grid(PATH_SPAN, given.points or 25)
        return paths(members[0], members[1], alphas), 2 * len(alphas)
    alphas = grid(SLICE_SPAN, given.points or (13 if given.plane else 25))
    betas = alphas if given.plane else []
    return slices(members[0], alphas, betas, given.seed), len(alphas) * (len(betas) or 1)


def _measured(
    given: argparse.Namespace, out: Output, member: StoredMember, points: Iterable[Point], num_points: int
) -> list[dict[str, Any]]:
    started, found = time.monotonic(), []
    for point in points:
        with user_code(f"the {point.kind} at alpha = {point.alpha:g}", made_by=member.trial.model):
            found.append(measured(member, point, given.batch_norm))
        if len(found) == 1:
            out.line(f"{num_points} points: {duration((time.monotonic() - started) * num_points)}")
    return found


def _identity(rows: Sequence[Row]) -> dict[str, Any]:
    pairs = zip("ab", [*rows, {}][:2], strict=True)
    return {f"{end}_{name}": row.get(name) for end, row in pairs for name in ("arm", "trial_id", "seed")}


def _file_name(given: argparse.Namespace, rows: Sequence[Row]) -> str:
    kind = "paths" if len(rows) == 2 else "plane" if given.plane else "slice"
    names = "-".join(f"{row['arm']}.{row['trial_id'][:8]}.{row['seed']}" for row in rows)
    options = "" if given.batch_norm == "recalibrate" else f".{given.batch_norm}"
    return f"{kind}.{names}{options}" + (f".seed{given.seed}" if len(rows) == 1 and given.seed else "")


def _show(out: Output, found: Sequence[Row]) -> None:
    for kind in dict.fromkeys(row["kind"] for row in found):
        own = [row for row in found if row["kind"] == kind and row["train_loss"] is not None]
        if kind in ("linear", "curved"):
            ends = {alpha: next((row["train_loss"] for row in own if row["alpha"] == alpha), None) for alpha in (0, 1)}
            top = max((row for row in own if 0 <= row["alpha"] <= 1), key=lambda row: row["train_loss"], default=None)
            highest = f"{number(top['train_loss'])} at alpha = {number(top['alpha'])}" if top else "not finite"
            out.line(
                f"{kind:<7} train loss: {number(ends[0])} at A, {number(ends[1])} at B, highest from A to B {highest}"
            )
        elif own:
            middle = next(row["train_loss"] for row in own if row["alpha"] == 0 and not row["beta"])
            edge = max(row["train_loss"] for row in own)
            out.line(f"{kind:<7} train loss: {number(middle)} at the member, at most {number(edge)} on the {kind}")


def _drawn(given: argparse.Namespace, name: str) -> str:
    done = run_analysis("analysis.landscape", given.name, name, "--storage", given.storage)
    if done.returncode:
        raise AnalysisError(f"the figure could not be drawn:\n{done.stderr.strip()}")
    return done.stdout.strip()

"""spaces: the search spaces there are, those of the papers with the rows that each repeats and what it takes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rich.table import Table

from tune_lb.cli.output import Output, command
from tune_lb.errors import RequestError, nearest
from tune_lb.space.loading import declared, load_space, missing_data, space_names
from tune_lb.space.papers import PAPERS, ROWS, SCRIPTS


def run(given: argparse.Namespace, out: Output) -> int:
    """List the spaces with their questions, by paper; one that cannot be loaded is listed with its error.

    --paper and --row leave out the others; --names prints names alone, one a line, without spaces whose data are not on this
    machine, which are named on stderr. Raises RequestError for a paper that there is none of, and a row that no space holds.
    """
    listed = _asked([_entry(name) for name in space_names()], given.paper, given.row)
    if given.names and not out.as_json:
        for entry in listed:
            if entry["missing"]:
                print(f"left out: {entry['name']}: {'; '.join(entry['missing'])}", file=sys.stderr)
            else:
                out.line(entry["name"])
        return 0
    papers = sorted({_paper(entry) for entry in listed}, key=["", *PAPERS].index)
    for paper in papers:
        if paper:
            out.line()
            out.paragraph(PAPERS[paper], style="bold")
        out.show(_table([entry for entry in listed if _paper(entry) == paper]))
    whole = not (given.paper or given.row)
    held = {row for entry in listed for row in entry["rows"]} | (set(SCRIPTS) if whole else set())
    if whole:
        out.line()
        out.line(f"{len(held)} of {len(ROWS)} rows of the papers, each with its space or script")
    usable = [str(entry["name"]) for entry in listed if entry["error"] is None]
    out.line()
    out.close(
        {"spaces": listed, "scripts": SCRIPTS if whole else {}, "rows": sorted(held)},
        command("show", "quickstart" if "quickstart" in usable else (usable or ["SPACE"])[0]),
    )
    return 0


def _entry(name: str) -> dict[str, Any]:
    found = declared(name)
    entry = {
        "name": name,
        "rows": list(found.rows),
        "cost": found.cost,
        "paper_cost": found.paper_cost,
        "missing": missing_data(name),
    }
    try:
        return entry | {"question": found.question or load_space(name).space.question, "error": None}
    except RequestError as error:
        return entry | {"question": None, "error": str(error)}


def _paper(entry: dict[str, Any]) -> str:
    """Return the paper that a space repeats rows of, by the word for it; "" for none."""
    return entry["rows"][0].partition(":")[0] if entry["rows"] else ""


def _asked(listed: list[dict[str, Any]], paper: str | None, row: str | None) -> list[dict[str, Any]]:
    if paper is not None and paper not in PAPERS:
        raise RequestError(f"--paper {paper}: there are {', '.join(PAPERS)}{nearest(paper, PAPERS)}")
    if row is not None and row in SCRIPTS:
        raise RequestError(f"--row {row!r}: it is no search; {SCRIPTS[row]} shows it")
    if row is not None and not any(row in entry["rows"] for entry in listed):
        known = {held for entry in listed for held in entry["rows"]}
        raise RequestError(f"--row {row!r}: no space repeats it{nearest(row, known)} (`spaces --json` lists the rows)")
    return [
        entry for entry in listed if (paper is None or _paper(entry) == paper) and (row is None or row in entry["rows"])
    ]


def _table(entries: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for entry in entries:
        lines = [entry["question"] or f"cannot be used: {entry['error']}"]
        if entry["rows"]:
            lines.append("; ".join(row.partition(": ")[2] for row in entry["rows"]))
            lines.append(f"small: {entry['cost']}; --scale paper: {entry['paper_cost']}")
        lines += entry["missing"]
        table.add_row(
            entry["name"], "\n".join(lines), style="red" if entry["error"] else "dim" if entry["missing"] else None
        )
    return table

"""report: tables, figures and the report of a run, or of several beside each other."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from tune_lb.cli.answer import analyse, recommended, show_answer, show_unwritten
from tune_lb.cli.output import Output, on_run
from tune_lb.cli.runs import check_run_name, find_run

DONE, FAILED = 0, 1


def run(given: argparse.Namespace, out: Output) -> int:
    """Run the analysis and show what it found and wrote."""
    for name in given.names:
        check_run_name(name)
        find_run(name, given.storage)
    tables = [f"--{kind}" for kind in ("latex", "csv") if getattr(given, kind)]
    answer = analyse(given.names, given.storage, *tables, to=given.out)
    show_answer(out, answer)
    for path in answer["paths"].values():
        out.line(path)
    if given.open and answer["paths"]:
        _open(answer["paths"]["report.html"], out)
    unwritten = show_unwritten(out, answer)
    first, *others = given.names
    opened = on_run("report", first, given.storage, *others, "--open")
    following = opened if others else recommended(answer, first, given.storage)
    out.close(({"runs": given.names} if others else {"run": first}) | answer, following)
    return FAILED if unwritten else DONE


def _open(page: str, out: Output) -> None:
    if "://" in page:
        out.line(f"--open: {page} is not on this machine; copy it here and open it (it is one file)", style="yellow")
        return
    address = Path(page).resolve().as_uri()
    if not webbrowser.open(address):
        out.line(f"--open: no browser could be started here; the page is {address}", style="yellow")

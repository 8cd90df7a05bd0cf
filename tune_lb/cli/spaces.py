"""spaces: the search spaces there are."""

from __future__ import annotations

import argparse

from rich.table import Table

from tune_lb.cli.output import Output, command
from tune_lb.errors import RequestError
from tune_lb.space.loading import load_space, question_of, space_names


def run(given: argparse.Namespace, out: Output) -> int:
    """List the spaces with their questions; one that cannot be loaded is listed with its error."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    listed = []
    for name in space_names():
        try:
            entry = {"name": name, "question": question_of(name) or load_space(name).space.question, "error": None}
        except RequestError as error:
            entry = {"name": name, "question": None, "error": str(error)}
        listed.append(entry)
        table.add_row(
            name, entry["question"] or f"cannot be used: {entry['error']}", style="red" if entry["error"] else None
        )
    out.show(table)
    usable = [str(entry["name"]) for entry in listed if entry["error"] is None]
    out.line()
    out.close({"spaces": listed}, command("show", "quickstart" if "quickstart" in usable else (usable or ["SPACE"])[0]))
    return 0

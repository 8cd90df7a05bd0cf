"""export: write the members of a run for another program."""

from __future__ import annotations

import argparse

from tune_lb.cli.output import Output, on_run
from tune_lb.cli.runs import check_run_name, find_run
from tune_lb.errors import RequestError
from tune_lb.export.exported import Feed
from tune_lb.export.targets import open_target
from tune_lb.results.run_files import read_space

OPENED = {
    "tensorboard": "tensorboard --logdir {place}",
    "mlflow": "mlflow ui --backend-store-uri {place}",
    "wandb": "wandb sync {place}/offline-run-*",
    "optuna": "optuna-dashboard {place}",
}
"""What opens that which was written."""


def run(given: argparse.Namespace, out: Output) -> int:
    """Write what is not there yet, and say where it is and what opens it."""
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    try:
        writer = open_target(given.to, store, given.name, read_space(store), given.out)
        feed = Feed(store)
        members = feed.new()
        writer.write(members)
        written = writer.close()
    except OSError as error:
        raise RequestError(f"export: cannot write: {error}; `--out FOLDER` writes elsewhere") from error
    for problem in feed.merger.problems:
        out.line(f"left out: {problem}", style="red")
    of = "configurations" if given.to == "optuna" else "members"
    out.line(f"{written:,} {of} written for {given.to}, the others were there: {writer.place}")
    if given.to in OPENED:
        out.line(f"open it: {OPENED[given.to].format(place=writer.place)}")
    result = {"run": given.name, "to": given.to, "place": writer.place, "members": len(members), "written": written}
    out.close(result, on_run("report", given.name, given.storage))
    return 0

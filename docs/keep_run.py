"""Keep finished runs of the papers' experiments under docs/reproduction: `python docs/keep_run.py runs/NAME ...`.

Rows, history, predictions and the report in Markdown; no weights, no files of single trials, and none of the paths of the machine
that trained it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from making.cards import ROOT

from tune_lb.results.run_files import read_space, write_space
from tune_lb.results.storage import Store

RUNS = ROOT / "docs" / "reproduction"
KEPT = ("results/members.parquet", "history", "predictions", "report")


def keep(run: Path, kept: Path) -> None:
    """Copy what is kept of a run into a folder, in place of what was there."""
    shutil.rmtree(kept, ignore_errors=True)
    for name in KEPT:
        if (run / name).is_dir():
            # the page holds every figure once more
            shutil.copytree(run / name, kept / name, ignore=shutil.ignore_patterns("*.html"))
        else:
            (kept / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / name, kept / name)
    space = read_space(Store(run))
    asked = space["asked"]
    asked["path"] = f"search_spaces/{Path(asked['path']).name}"
    asked["options"] = {**asked["options"], "storage": "runs"}
    write_space(Store(kept), space)


def main(argv: Sequence[str] | None = None) -> int:
    """Keep the runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="runs/NAME", help="folder of a finished run")
    for run in parser.parse_args(argv).runs:
        if not (run / "report").is_dir():
            print(f"{run}: it has no report, which a search writes at its end; let it finish")
            return 2
        keep(run, RUNS / run.name)
        print(f"kept: docs/reproduction/{run.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

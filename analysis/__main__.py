"""python -m analysis NAME: tables, figures and the report of a run, written to its folder report/."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.document import Document
from analysis.loading import load, run_store
from analysis.markdown import markdown
from analysis.old_design.results import OldResults
from analysis.old_design.table_columns import OLD_ARMS
from analysis.page import Looks, page
from analysis.plots.command import add_figure_arguments, one_figure
from analysis.report import report
from analysis.results import Results
from analysis.summary import summary
from analysis.table_columns import ARMS, described
from analysis.tables_for_papers import csv_tables, latex_tables
from tune_lb.errors import RequestError
from tune_lb.results.storage import StorageError, Store

if TYPE_CHECKING:
    from analysis.drawing import Drawing


def main(arguments: list[str] | None = None) -> int:
    """Write the report and print the answer; 2 where there is no such run."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Tables, figures and the report of a run.")
    parser.add_argument(
        "run",
        nargs="+",
        help="name of a run in the storage, or the folder of a run (path or URI); several: what differs, and all arms together",
    )
    parser.add_argument("--storage", default="runs", help="where runs are (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--no-figures", action="store_true", help="write no figures (saves a few seconds)")
    parser.add_argument("--no-files", action="store_true", help="print the answer alone, write nothing")
    parser.add_argument(
        "--latex", action="store_true", help="write arms, configurations and published values as LaTeX too"
    )
    parser.add_argument("--csv", action="store_true", help="write them as CSV too, with all columns")
    add_figure_arguments(parser)
    given = parser.parse_args(arguments)
    try:
        results = load(given.run, given.storage)
        folder = report_folder(results, run_store(given.run[0], given.storage))
        if given.figure or given.list_figures:
            print("\n".join(one_figure(given, results, folder)))
            return 0
        how = {"figures": not given.no_figures, "latex": given.latex, "csv": given.csv}
        folder = folder if given.out is None else Store(given.out)
        shown = summary(results) if given.no_files else write_report(results, folder, **how)
    except (RequestError, StorageError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(shown, allow_nan=False) if given.json else _text(shown))
    return 0


def report_folder(results: Results | OldResults, store: Store) -> Store:
    """Where the report of a run goes: report/ in its folder (store); of several, a folder in the first one's."""
    folder = store.child("report")
    others = list(results.parts)[1:]
    return folder.child("with_" + "_".join(name.replace("/", "_") for name in others)) if others else folder


def write_report(
    results: Results | OldResults, folder: Store, *, figures: bool = True, latex: bool = False, csv: bool = False
) -> dict[str, Any]:
    """Write the report into a folder; return the summary with the paths of what was written, or why it could not be.

    latex, csv: also the tables for papers.
    """
    shown = summary(results)
    files: dict[str, bytes] = {
        "configurations.parquet": _parquet(results, "configurations"),
        "arms.parquet": _parquet(results, "arms"),
    }
    pictures: Mapping[str, Drawing] = {}
    if figures:
        # A second of import that tables and text do without.
        from analysis.drawing import draw_all, drawn
        from analysis.plots.kinds import report_figures

        pictures = draw_all(results) | {name: drawn(figure, name) for name, figure in report_figures(results).items()}
    files |= {f"{name}.png": drawing.png for name, drawing in pictures.items()}
    document = report(results, shown, pictures)
    files["report.md"] = markdown(document).encode()
    files["report.html"] = html(results, shown, document, pictures).encode()
    tables = (latex_tables(document) if latex else {}) | (csv_tables(results) if csv else {})
    files |= {name: text.encode() for name, text in tables.items()}
    try:
        for name, data in files.items():
            folder.write(name, data)
    except StorageError as error:
        return {**shown, "paths": {}, "unwritten": str(error)}
    paths = {name: f"{folder.location}/{name}" for name in files}
    return {**shown, "paths": paths}


def html(
    results: Results | OldResults, shown: Mapping[str, Any], document: Document, pictures: Mapping[str, Drawing]
) -> str:
    """The page of a report, arms in the colours of the figures. shown: what `summary` gave; pictures: what `draw_all` gave."""
    marks = {row["arm"]: row["mark"] for row in shown["rows"]}
    if not pictures:
        return page(document, Looks(marks=marks))
    from analysis.canvas import Inks

    return page(document, Looks(pictures, Inks(results.arms).colour, marks))


def _parquet(results: Results | OldResults, name: str) -> bytes:
    own = OLD_ARMS if isinstance(results, OldResults) else ARMS
    table = described(getattr(results, name), results.frames.descriptions, name, own)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _text(shown: dict[str, Any]) -> str:
    rows = [list(row["cells"].values()) for row in shown["rows"]]
    lines = [list(shown["rows"][0]["cells"]), *rows] if rows else []
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))] if lines else []
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    left_out = [f"left out: {problem}" for problem in shown["problems"]]
    paths, unwritten = shown.get("paths", {}), shown.get("unwritten")
    written = ["", f"report: {paths['report.html']}"] if paths else []
    written += ["", f"the report was not written: {unwritten}; --out FOLDER writes it elsewhere"] if unwritten else []
    return "\n".join([*text, "", *shown["sentences"], *left_out, *written])


if __name__ == "__main__":
    # a process of seconds: to look for cycles among what it makes takes a twentieth of them, and finds next to nothing
    gc.set_threshold(100_000)
    sys.exit(main())

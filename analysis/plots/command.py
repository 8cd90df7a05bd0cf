"""python -m analysis NAME --figure KIND: one figure, drawn as PNG and SVG; --list-figures: which the run has data for."""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.loading import load
from analysis.notation import counted, listed
from analysis.old_design.results import OldResults
from analysis.results import Results
from tune_lb.errors import RequestError
from tune_lb.results.storage import Store

OPTIONS = ("y", "x", "arms", "also", "target")
"""What a figure may be given."""
SUFFIXES = (".png", ".svg", ".pdf")


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of one figure."""
    add = parser.add_argument_group("one figure").add_argument
    add("--figure", metavar="KIND", help="draw this figure alone, as PNG and SVG")
    add("--list-figures", action="store_true", help="list the kinds of figures, and which this run has data for")
    add(
        "--y",
        nargs="+",
        default=(),
        metavar="COLUMN",
        help="what the figure shows, as test_error keskar.full_1e-3; two: twin axes",
    )
    add("--x", metavar="COLUMN", help="against what, where a figure leaves a choice")
    add("--arms", nargs="+", default=(), metavar="ARM", help="these arms alone")
    add("--also", nargs="+", default=(), metavar="RUN", help="further runs beside it, in figures of paths")
    add("--target", type=float, metavar="ERROR", help="the error to reach, a fraction (time_to_target)")
    add(
        "--out",
        metavar="PLACE",
        help="where a figure is written (a file: .png, .svg, .pdf) or a report (a folder); default: report/ in the run's folder",
    )


def one_figure(given: argparse.Namespace, results: Results | OldResults, folder: Store) -> list[str]:
    """Draw what is asked for; return the lines to print. folder: of the report. Raises RequestError for what cannot be drawn."""
    # a second of import that tables and text do without
    from analysis.canvas import png
    from analysis.plots.choice import Choice
    from analysis.plots.kinds import KINDS, availability, figure, kind_of
    from analysis.plots.paper import pdf, svg

    if given.list_figures:
        missing = availability(results)
        width = max(map(len, KINDS))
        has = [
            f"  {kind.name.ljust(width)}  {kind.shows}\n  {' ' * width}  {kind.takes}".rstrip()
            for kind in KINDS.values()
            if not missing[kind.name]
        ]
        none = [f"  {name.ljust(width)}  {why}" for name, why in missing.items() if why]
        return [
            f"{results.asked.name} has data for {counted(len(has), 'figure')}:",
            *has,
            *([f"and none for {len(none)}:", *none] if none else []),
        ]
    kind = kind_of(given.figure)
    ignored = [f"--{name}" for name in OPTIONS if getattr(given, name) and f"--{name}" not in kind.takes]
    if ignored:
        takes = f"it takes {kind.takes}" if kind.takes else "it takes no options: it chooses what it shows itself"
        raise RequestError(f"figure {kind.name}: {listed(ignored)} would be ignored; {takes}")
    out = Path(given.out) if given.out else None
    if out is not None and out.suffix not in SUFFIXES:
        raise RequestError(f"--out {given.out}: give a file that ends in {', '.join(SUFFIXES)}")
    if out is not None and not out.absolute().parent.is_dir():
        raise RequestError(f"--out {given.out}: there is no folder {out.absolute().parent}; make it first")
    also = tuple(load(name, given.storage) for name in given.also)
    drawn = figure(results, kind.name, Choice(tuple(given.y), given.x, tuple(given.arms), also, given.target))
    if out is not None:
        out.write_bytes({".png": png, ".svg": svg, ".pdf": pdf}[out.suffix](drawn))
        return [str(out)]
    written = {f"{kind.name}.png": png(drawn), f"{kind.name}.svg": svg(drawn)}
    for name, data in written.items():
        folder.write(name, data)
    return [f"{folder.location}/{name}" for name in written]

"""The table of arms at the end of a search, laid out for the width there is: nothing is cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tune_lb.cli.output import Output, number

Row = Mapping[str, Any]

EFFECTS = {
    "arm": "arm",
    "n": "n",
    "test error %": "test error %",
    "difference, points": "difference",
    "large-batch drop, points": "drop",
    "gap closed": "gap closed",
}
"""Titles that analysis gives -> headers, for what the search is about."""

MEASURED = {
    "over seeds only": "over seeds only",
    "these recipes": "these recipes",
    "gap, points": "gap",
    "train loss": "train loss",
    "lambda_max": "lambda_max",
    "Keskar 1e-3": "Keskar",
    "updates": "updates",
    "gradient evaluations": "gradients",
    "seconds": "seconds",
}
"""The same for what was measured besides."""

SHORT = {
    "over seeds only": "seeds\nonly",
    "these recipes": "these\nrecipes",
    "lambda_max": "lambda\nmax",
    "gradients": "grads",
    "seconds": "s",
}
SHORT |= {"test error %": "test\nerror %", "train loss": "train\nloss"}

OLD_LEGEND = """\
difference  test error minus the reference's, points [95 % over configurations, seeds and splits]
seeds only  the same interval for these configurations alone: smaller than what a new search would show
"""
"""Of runs of the old design."""
LEGEND = """\
difference  test error minus the reference's, points [95 %, the whole procedure with its search; all tested arms at once]
recipes     the same interval for these values of the search alone: no claim about a remedy
"""
SHARED_LEGEND = """\
drop        test error minus the baseline's, points; gap closed: share of the reference's drop that is gone
gap         test error minus train error, points
Keskar      Metric 2.1 of Keskar et al., 2017, eps 1e-3, %
gradients   gradient evaluations of one training; n, updates, seconds: of confirmed members
grey        nothing is claimed of it"""
SHARPNESS = ("lambda_max", "Keskar 1e-3")
"""Columns that are there where something was measured."""

STYLES = {"noise floor": "yellow", "placebo": "yellow", "claim": "bold green", "": "dim"}
LABELLED = ("baseline", "reference", "noise floor", "trained longer")
LONGEST_REASON = 16


class Layout(NamedTuple):
    """How the cells of a row are spread."""

    tables: int
    stacked: bool
    """Intervals and spreads on a second line."""
    gap: int
    """Spaces between columns, and one more."""


LAYOUTS = (Layout(1, False, 1), Layout(2, False, 1), Layout(2, False, 0), Layout(2, True, 1), Layout(2, True, 0))


def show_arms(out: Output, rows: Sequence[Row]) -> None:
    """Print one line per arm, in the widest layout that fits; reasons too long for a cell stand below, numbered."""
    if not rows:
        return
    for layout in LAYOUTS:
        notes: list[str] = []
        tables = _tables(rows, layout, notes)
        if all(_width(out, table) <= out.console.width for table in tables):
            break
    for table in tables:
        out.show(table)
        out.line()
    for index, note in enumerate(notes, 1):
        out.paragraph(f"({index}) {note}")
    old = "over seeds only" in rows[0]["cells"]
    lines = ((OLD_LEGEND if old else LEGEND) + SHARED_LEGEND).splitlines()
    shown = lines if _is_known(rows, "Keskar 1e-3") else [line for line in lines if not line.startswith("Keskar")]
    out.show(Text("\n".join(shown), style="dim"))
    out.line()


def show_best(out: Output, best: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the searched values that each arm's search selected; in runs of the old design by split."""
    if not best:
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    old = any("by_split" in found for found in best.values())
    table.add_column("arm", no_wrap=True)
    if old:
        table.add_column("split")
    table.add_column("best configuration")
    for arm, found in best.items():
        if not old:
            table.add_row(arm, _searched(found["searched"]))
            continue
        splits: dict[str, list[str]] = {}
        for split in sorted(found["by_split"], key=int):
            splits.setdefault(_searched(found["by_split"][split]), []).append(split)
        for index, (text, names) in enumerate(splits.items()):
            table.add_row("" if index else arm, ", ".join(names), text)
    out.show(table)
    out.line()


def _searched(values: Mapping[str, Any]) -> str:
    texts = [f"{name} = {number(value)}" for name, value in values.items() if value is not None]
    return ", ".join(texts) or "nothing was searched"


def _tables(rows: Sequence[Row], layout: Layout, notes: list[str]) -> list[Table]:
    groups = [EFFECTS | MEASURED] if layout.tables == 1 else [EFFECTS, {"arm": "arm"} | MEASURED]
    return [_table(rows, headers, layout, notes) for headers in groups]


def _width(out: Output, table: Table) -> int:
    return Measurement.get(out.console, out.console.options.update(width=10_000), table).maximum


def _table(rows: Sequence[Row], headers: Mapping[str, str], layout: Layout, notes: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, layout.gap, 0, 0), pad_edge=False, show_edge=False)
    titles = [title for title in headers if title in rows[0]["cells"] and _is_known(rows, title)]
    for title in titles:
        header = SHORT.get(headers[title], headers[title]) if layout.stacked else headers[title]
        table.add_column(header, justify="left" if title == "arm" else "right", no_wrap=True)
    for row in rows:
        cells = [Text(_cell(row, title, layout, notes)) for title in titles]
        table.add_row(*cells, style=STYLES.get(row["mark"]))
    return table


def _is_known(rows: Sequence[Row], title: str) -> bool:
    """Say whether a column has anything to show: sharpness that was not measured is left out."""
    return title not in SHARPNESS or any(str(row["cells"].get(title, "-")) not in ("", "-") for row in rows)


def _cell(row: Row, title: str, layout: Layout, notes: list[str]) -> str:
    text = str(row["cells"][title])
    if title == "arm":
        label = row["mark"] if row["mark"] in LABELLED else ""
        return f"{text}\n  {label}" if label and layout.stacked else f"{text} ({label})" if label else text
    if title == "gap closed" and row["gap_closed"] is None and len(text) > LONGEST_REASON:
        if text not in notes:
            notes.append(text)
        return f"({notes.index(text) + 1})"
    if layout.stacked:
        for mark in (" [", " +- ", " (", " by "):
            text = text.replace(mark, f"\n{mark[1:]}")
        text = text.replace(", ", ",\n") if title in ("over seeds only", "these recipes") else text
    return text

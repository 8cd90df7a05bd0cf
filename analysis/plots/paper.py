"""What the figures of the papers are drawn with: looks that stay apart in grey, batch-size axes, twin axes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from analysis.canvas import COLOURS, GREY, INK, MARKERS, log_scale
from analysis.measured import GAPS
from analysis.plots.choice import MOST_TICKS, Quantity
from analysis.svg import with_titles

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1.5, 2)))
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
LABEL_WIDTH = 42
LOG_FROM = 30.0
"""Ratio of the largest to the smallest positive value from which an axis is logarithmic."""


class Look(NamedTuple):
    """Colour, marker and dashes of a line: each alone tells it apart."""

    colour: str
    marker: str
    dashes: Any

    @property
    def line(self) -> dict[str, Any]:
        """As matplotlib takes it."""
        return {"color": self.colour, "marker": self.marker, "ls": self.dashes, "lw": 1.8, "ms": 5}

    def handle(self, label: str) -> Line2D:
        """An entry of a legend."""
        return Line2D([], [], label=label, **self.line)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, in their order."""
    found = {}
    for place, name in enumerate(dict.fromkeys(names)):
        dashes = DASHES[(place // len(COLOURS) + place) % len(DASHES)]
        found[name] = Look(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], dashes)
    return found


def batch_axis(axes: Axes, sizes: Sequence[float], label: str = "batch size (log scale)") -> None:
    """A logarithmic axis to base 2 with ticks at the batch sizes themselves, as far as they lie apart."""
    axes.set_xscale("log", base=2)
    shown = spaced([float(size) for size in sorted(set(sizes))])
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{size:,.0f}" for size in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)


def spaced(values: list[float]) -> list[float]:
    """Of ascending values those whose labels do not touch on a logarithmic axis, the ends among them."""
    if len(values) < 3:
        return values
    least = np.log2(values[-1] / values[0]) / MOST_TICKS
    shown = values[:1]
    for value in values[1:-1]:
        if np.log2(value / shown[-1]) >= least and np.log2(values[-1] / value) >= least:
            shown.append(value)
    return [*shown, values[-1]]


def value_axis(axes: Axes, label: str, values: np.ndarray[Any, Any], *, log: bool | None = None) -> bool:
    """Label the axis of values; logarithmic where they are positive and span a factor of 30. Returns whether it is."""
    known = values[np.isfinite(values)]
    wide = bool(known.size and known.min() > 0 and known.max() / known.min() >= LOG_FROM)
    is_log = wide if log is None else log and bool(known.size and known.min() > 0)
    if is_log:
        log_scale(axes, "y")
    axes.set_ylabel(textwrap.fill(label + (" (log scale)" if is_log else ""), LABEL_WIDTH))
    return is_log


def scale_of(what: Quantity) -> bool | None:
    """What value_axis is told of a quantity: a gap is a difference, so never on a logarithmic axis; of others the values decide."""
    return False if what.column in GAPS else None


def bounded(rows: pd.DataFrame, *, log: bool) -> tuple[float, float] | None:
    """Ends of an axis that holds all means, and intervals as far as the means themselves span; None where nothing is cut.

    rows: mean, low, high. An interval from two blocks would hide all else.
    """
    table = rows[["mean", "low", "high"]].to_numpy(np.float64)
    table = np.log(np.where(table > 0, table, np.nan)) if log else table
    means, ends = table[:, 0][np.isfinite(table[:, 0])], table[:, 1:][np.isfinite(table[:, 1:])]
    if not means.size or not ends.size:
        return None
    width = max(float(np.ptp(means)), 0.1 * float(np.abs(means).max()), 1e-12)
    low, high = float(means.min()) - width, float(means.max()) + width
    if ends.min() >= low and ends.max() <= high:
        return None
    shown = np.concatenate([means, np.clip(ends, low, high)])
    found = (float(shown.min()) - 0.04 * width, float(shown.max()) + 0.04 * width)
    return (float(np.exp(found[0])), float(np.exp(found[1]))) if log else found


def twin(axes: Axes, colour: str = INK) -> Axes:
    """A second axis of values on the right; the colour of both axes' ticks and labels is left to the caller."""
    other: Axes = axes.twinx()
    other.spines["right"].set_visible(True)
    other.spines["right"].set_color(GREY)
    other.tick_params(axis="y", colors=colour)
    other.yaxis.label.set_color(colour)
    return other


def svg(figure: Figure) -> bytes:
    """The figure as the bytes of an SVG file, the same for the same figure."""
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "tune_lb"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return with_titles(buffer.getvalue().decode()).encode()


def pdf(figure: Figure) -> bytes:
    """The figure as the bytes of a PDF file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()

"""Paper and ink of the figures: colours and markers of arms, text sizes, number ticks. Matplotlib without pyplot."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from analysis.notation import significant

# Okabe and Ito's colours and three of Tol's, in an order that keeps neighbours apart for colour-blind readers.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#882255", "#999933", "#332288")
ROLES = {"baseline": "#000000", "reference": "#D55E00", "placebo": "#8C8C8C", "copied": "#B0703C", "scaled": "#D9A06B"}
MARKERS = "osD^vPXd<>"
SPLIT_MARKERS = "osD^vP"
INK, GREY, FADED, PALE = "#262626", "#595959", "#9E9E9E", "#E3E3E3"
DASHES = (0, (4, 3))
TITLE, NOTE = "title", "note"
"""Names of the two texts that the page sets by itself."""
DPI = 160
NARROW = 4.0
"""Ratio of the ends of a logarithmic axis below which its numbers lie as on another axis."""
STYLE: dict[Any, Any] = {
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.minor.size": 3.5,
    "ytick.minor.size": 3.5,
    "xtick.minor.pad": 3.5,
    "ytick.minor.pad": 3.5,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.labelspacing": 0.9,
    "figure.facecolor": "white",
}


class Inks:
    """Colour and marker of each arm, the same in every figure of a run; the marker tells arms apart without colour."""

    def __init__(self, arms: pd.DataFrame) -> None:
        self.colour: dict[str, str] = {}
        self.marker: dict[str, str] = {}
        num_others = 0
        of_role = dict(ROLES)
        for position, (arm, role) in enumerate(zip(arms["arm"], arms["role"], strict=True)):
            self.marker[arm] = MARKERS[position % len(MARKERS)]
            # of several runs there may be two arms in a role: the first has its colour
            own = of_role.pop(role, None)
            self.colour[arm] = own or COLOURS[num_others % len(COLOURS)]
            num_others += own is None

    def ordered(self, arms: Iterable[str]) -> list[str]:
        """The arms that are there, in the order of the run."""
        present = set(arms)
        return [arm for arm in self.colour if arm in present]

    def handle(self, arm: str, label: str) -> Line2D:
        """An entry of a legend."""
        return Line2D([], [], color=self.colour[arm], marker=self.marker[arm], lw=1.8, ms=5, label=label)


def new_figure(width: float, height: float, title: str, note: str) -> Figure:
    """An empty figure (inches) with its title above and a note on how to read it below."""
    text = textwrap.fill(note, int(14 * width))
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        margin = (0.12 + 0.17 * (1 + text.count("\n"))) / height
        engine.set(rect=(0.005, margin, 0.99, 0.99 - margin))  # type: ignore[call-arg]
    figure.suptitle(
        textwrap.fill(title, int(9.2 * width)), x=0.012, ha="left", fontsize=12.5, fontweight="bold", gid=TITLE
    )
    figure.text(0.012, 0.06 / height, text, fontsize=9, color=GREY, gid=NOTE)
    return figure


def said(figure: Figure, gid: str) -> str:
    """Title or note of a figure, in one line."""
    return " ".join(" ".join(text.get_text() for text in figure.texts if text.get_gid() == gid).split())


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def log_scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with numbers such as 0.05; where it spans few decades also at 2 and 5."""
    axes.set_xscale("log") if which == "x" else axes.set_yscale("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    if low > 0 and high < NARROW * low:
        # few decades have no round number in them but these
        axis.set_major_locator(MaxNLocator(5))
        axis.set_minor_locator(NullLocator())
    between = (1, 2, 5) if low > 0 and np.log10(high / low) < 2.5 else ()
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: tick(value) if leading(value) in between else ""))


def tick(value: float) -> str:
    """A number on an axis, without zeros that say nothing."""
    return f"{value:g}" if 1e-4 <= value < 1e5 else significant(value, 1)


def leading(value: float) -> int:
    """The first digit of a number."""
    return round(value / 10 ** np.floor(np.log10(value) + 1e-9)) if value > 0 else 0

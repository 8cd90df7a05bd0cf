"""Drawing of the figures: a function for each kind of analysis.figure_kinds."""

from __future__ import annotations

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis import figures
from analysis.canvas import (
    DASHES,
    FADED,
    GREY,
    INK,
    NOTE,
    PALE,
    ROLES,
    SPLIT_MARKERS,
    STYLE,
    TITLE,
    Inks,
    log_scale,
    new_figure,
    png,
    said,
)
from analysis.figure_kinds import ArmErrors, Curves, Scatter, SearchCurves
from analysis.notation import points, significant
from analysis.old_design import figures as old_figures
from analysis.old_design.results import OldResults
from analysis.results import Results
from analysis.svg import svg, tip, tips
from analysis.tips import difference_tip, level_tip

PLATE: dict[str, Any] = {"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.75}
MOST_IN_COLUMN = 24
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}


class Drawing(NamedTuple):
    """A figure as it is written: its title and note, the PNG with both, the element <svg> without."""

    title: str
    note: str
    png: bytes
    svg: str


def draw_all(results: Results | OldResults) -> dict[str, Drawing]:
    """Every figure that the results allow: file name without suffix -> PNG and SVG. Cost: about a second each."""
    inks = Inks(results.arms)
    if isinstance(results, OldResults):
        shown = {name: show(results) for name, show in old_figures.FIGURES.items()}
    else:
        shown = {name: show(results) for name, show in figures.FIGURES.items()}
    with mpl.rc_context(STYLE):
        return {name: drawn(draw(info, inks), name) for name, info in shown.items() if info is not None}


def drawn(figure: Figure, name: str) -> Drawing:
    """The figure in both forms."""
    # the PNG first: it lays the figure out
    return Drawing(said(figure, TITLE), said(figure, NOTE), png(figure), svg(figure, name))


def last_text(rows: pd.DataFrame) -> str:
    """Where a curve ends: "epoch 20: 0.0083, n = 24"."""
    last = rows.iloc[-1]
    return f"epoch {last['epoch']:g}: {significant(float(last['mean']))}, n = {last['n']}"


def draw(info: figures.Shown, inks: Inks) -> Figure:
    """The figure of what is shown, of whatever kind it is."""
    if isinstance(info, ArmErrors):
        return arm_errors(info, inks)
    if isinstance(info, Scatter):
        return scatter(info, inks)
    return history_curves(info, inks) if isinstance(info, Curves) else search_curves(info, inks)


def beside_legend(width: float, height: float, num_arms: int) -> tuple[float, float, int]:
    """Width and height of a figure (inches) that hold a legend of all arms at its side, and the legend's columns."""
    columns = -(-num_arms // MOST_IN_COLUMN)
    return width + 2.4 * (columns - 1), max(height, 1.0 + 0.25 * -(-num_arms // columns)), columns


def arm_errors(info: ArmErrors, inks: Inks) -> Figure:
    """Left: test error of members and arms. Right: difference from the reference, with the placebo's band."""
    compared = bool(np.isfinite(info.arms["difference"]).any())
    note = info.note
    if info.cut:
        note += " Bars that reach an edge go on."
    if (info.arms["mean"] > info.error_span[1]).any():
        note += " Arrows: far beyond the axis, at the number beside them."
    if info.members["diverged"].any():
        note += " Crosses at the edge: diverged, counted at chance."
    figure = new_figure(11.0 if compared else 7.5, 1.9 + 0.46 * len(info.arms), info.title, note)
    left = figure.add_subplot(1, 2 if compared else 1, 1)
    _errors(left, info, inks)
    if compared:
        _differences(figure.add_subplot(1, 2, 2, sharey=left), info, inks)
    return figure


def _errors(axes: Axes, info: ArmErrors, inks: Inks) -> None:
    rows = info.rows
    if np.isfinite(info.floor) and np.isfinite(info.reference):
        axes.axvspan(info.reference - info.floor, info.reference + info.floor, color=PALE, zorder=0, lw=0)
    for value, role in ((info.baseline, "baseline"), (info.reference, "reference")):
        if np.isfinite(value):
            axes.axvline(value, color=ROLES[role], lw=1, ls=DASHES, zorder=1)
    low, high = info.error_span
    edge = high - 0.015 * (high - low)
    groups = sorted(info.members["group"].unique())
    for (name, group), members in info.members.groupby(["arm", "group"]):
        place = groups.index(group)
        lane = 0.13 + (0.2 * place / (len(groups) - 1) - 0.1 if len(groups) > 1 else 0.0)
        y = rows[str(name)] + lane + np.linspace(-0.05, 0.05, len(members))
        lost = members["diverged"].to_numpy(bool)
        x = np.where(lost, edge, members["test_error"].to_numpy(np.float64))
        colour, marker = inks.colour[str(name)], SPLIT_MARKERS[place % len(SPLIT_MARKERS)]
        ends = np.where(lost, "diverged", [f"test error {value:.2f} %" for value in members["test_error"]])
        shown = np.array(tips(f"{text}\n{end}" for text, end in zip(members["tip"], ends, strict=True)), dtype=object)
        look: dict[str, Any] = {"color": colour, "zorder": 3}
        axes.scatter(x[~lost], y[~lost], s=17, marker=marker, alpha=0.55, lw=0, urls=shown[~lost], **look)
        axes.scatter(x[lost], y[lost], s=28, marker="x", lw=1.4, urls=shown[lost], **look)
    for arm in info.records:
        y_mean, colour = rows[arm["arm"]] - 0.2, inks.colour[arm["arm"]]
        if arm["mean"] > high:
            axes.plot(
                [edge], [rows[arm["arm"]]], ">", color=colour, ms=7, zorder=5, url=tip(level_tip(arm, info.whole))
            )
            text = f"{arm['mean']:.2f}"
            axes.annotate(
                text,
                (edge, rows[arm["arm"]]),
                xytext=(-8, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=9,
                color=INK,
                bbox=PLATE,
                zorder=6,
            )
            continue
        axes.plot([arm["low"], arm["high"]], [y_mean] * 2, color=colour, lw=2.2, solid_capstyle="butt", zorder=4)
        look = {"color": colour, "ms": 6, "mec": "white", "mew": 0.8, "zorder": 5}
        axes.plot([arm["mean"]], [y_mean], "D", url=tip(level_tip(arm, info.whole)), **look)
    axes.set_xlim(low, high)
    axes.set_yticks(list(rows.values()), [f"{arm['arm']} ({arm['n']})" for arm in info.records], color=INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel("test error, %")
    axes.tick_params(axis="y", length=0)


def _differences(axes: Axes, info: ArmErrors, inks: Inks) -> None:
    rows = info.rows
    low, high = info.difference_span
    small: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9}
    axes.axvline(0, color=ROLES["reference"], lw=1, ls=DASHES, zorder=1)
    if np.isfinite(info.floor):
        axes.axvspan(-info.floor, info.floor, color=PALE, zorder=0, lw=0)
        top: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "xytext": (0, 3), "ha": "center", "color": GREY}
        axes.annotate("noise floor (placebo)", (0, 1), **top, **small)
    for arm in info.records:
        name, difference, y = arm["arm"], arm["difference"], rows[arm["arm"]]
        if not np.isfinite(difference):
            axes.annotate("the reference", (0, y), xytext=(6, 0), va="center", color=ROLES["reference"], **small)
            continue
        claimed = not arm["is_tested"] or arm["claim"] is True
        colour, ink = (inks.colour[name], INK) if claimed else (FADED, GREY)
        text, beyond = points(difference / 100), not low <= difference <= high
        if beyond:
            edge, way = (high, -1) if difference > 0 else (low, 1)
            edge += way * 0.015 * (high - low)
            mark = "<" if way > 0 else ">"
            axes.plot([edge], [y], mark, color=colour, ms=7, zorder=5, url=tip(difference_tip(arm, info.whole)))
            side = "left" if way > 0 else "right"
            axes.annotate(text, (edge, y), xytext=(8 * way, 0), ha=side, va="center", color=ink, bbox=PLATE, **small)
            continue
        inner = bool(np.isfinite(arm["inner_low"]))
        outer: dict[str, Any] = {"color": colour, "lw": 1.5 if inner else 2.4, "solid_capstyle": "butt"}
        axes.plot([arm["difference_low"], arm["difference_high"]], [y, y], **outer)
        if inner:
            axes.plot([arm["inner_low"], arm["inner_high"]], [y, y], color=colour, lw=4.5, solid_capstyle="butt")
        look: dict[str, Any] = {"color": colour, "ms": 6.5, "mec": "white", "mew": 0.8, "zorder": 5}
        axes.plot([difference], [y], "D", url=tip(difference_tip(arm, info.whole)), **look)
        axes.annotate(text, (difference, y), xytext=(0, 6), ha="center", color=ink, bbox=PLATE, **small)
    axes.set_xlim(low, high)
    axes.set_xlabel("difference from the reference, points (grey: not claimed)")
    axes.tick_params(axis="y", labelleft=False, length=0)


def scatter(info: Scatter, inks: Inks) -> Figure:
    """Sharpness against the generalization gap, or against train loss."""
    wide, high, columns = beside_legend(8.4, 5.2, len(info.means))
    figure = new_figure(wide, high, info.title, "Small: confirm members. Large: means of arms.")
    axes = figure.add_subplot()
    y_name = info.y_label.partition(",")[0]
    for arm in inks.ordered(info.means["arm"]):
        rows, mean = info.members[info.members["arm"] == arm], info.means[info.means["arm"] == arm]
        colour, marker = inks.colour[arm], inks.marker[arm]
        pairs = zip(rows["tip"], rows["x"], rows["y"], strict=True)
        shown = tips(f"{text}\n{info.x_label} {significant(x)}, {y_name} {significant(y)}" for text, x, y in pairs)
        axes.scatter(rows["x"], rows["y"], s=18, marker=marker, color=colour, alpha=0.35, lw=0, urls=shown)
        label = f"{arm} (n = {len(rows)})"
        look: dict[str, Any] = {"s": 95, "marker": marker, "color": colour, "ec": "white", "lw": 1, "zorder": 5}
        axes.scatter(mean["x"], mean["y"], label=label, urls=tips([f"{label}, mean"]), **look)
    log_scale(axes, "x")
    if info.log_y:
        log_scale(axes, "y")
    axes.set_xlabel(f"{info.x_label} (log scale)")
    axes.set_ylabel(info.y_label + (" (log scale)" if info.log_y else ""))
    axes.legend(**BESIDE, ncols=columns)
    return figure


def history_curves(info: Curves, inks: Inks) -> Figure:
    """One panel for each thing recorded, one line per arm."""
    arms = inks.ordered(info.lines["arm"])
    wide, high, columns = beside_legend(4.2 * len(info.panels) + 2.4, 4.6, len(arms))
    figure = new_figure(wide, high, info.title, info.note)
    for number, (name, label) in enumerate(info.panels.items()):
        axes = figure.add_subplot(1, len(info.panels), number + 1)
        for arm in arms:
            rows = info.lines[(info.lines["arm"] == arm) & (info.lines["name"] == name)].sort_values("epoch")
            colour = inks.colour[arm]
            axes.fill_between(rows["epoch"], rows["low"], rows["high"], color=colour, alpha=0.13, lw=0)
            look: dict[str, Any] = {"color": colour, "lw": 1.8, "marker": inks.marker[arm], "ms": 4.5}
            axes.plot(rows["epoch"], rows["mean"], markevery=0.2, url=tip(arm, label, last_text(rows)), **look)
        if name in info.log:
            log_scale(axes, "y")
        axes.set_title(label + (" (log scale)" if name in info.log else ""))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    counts = info.lines.groupby("arm")["n"].max()
    handles = [inks.handle(arm, f"{arm} (n = {counts[arm]})") for arm in arms]
    figure.legend(handles=handles, loc="outside right center", ncols=columns)
    return figure


def search_curves(info: SearchCurves, inks: Inks) -> Figure:
    """What the best of k configurations reaches."""
    wide, high, columns = beside_legend(8.4, 4.8, info.lines["arm"].nunique())
    figure = new_figure(wide, high, info.title, info.note)
    axes = figure.add_subplot()
    for arm in inks.ordered(info.lines["arm"]):
        rows = info.lines[info.lines["arm"] == arm]
        done = bool(rows["converged"].iloc[0])
        look: dict[str, Any] = {
            "color": inks.colour[arm],
            "marker": inks.marker[arm],
            "lw": 1.8,
            "ms": 4.5,
            "ls": "-" if done else (0, (3, 2)),
        }
        label = f"{arm} ({rows['k'].max()} points{'' if done else ', still gaining'})"
        axes.plot(
            rows["k"], rows["value"], label=label, url=tip(label, f"best of all: {rows['value'].iloc[-1]:.4g}"), **look
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if info.log:
        log_scale(axes, "y")
    axes.set_xlabel("points searched, k (log scale)")
    axes.set_ylabel(info.label + (" (log scale)" if info.log else ""))
    axes.legend(**BESIDE, ncols=columns)
    return figure

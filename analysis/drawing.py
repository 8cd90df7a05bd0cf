"""Drawing of the figures: a function for each kind of analysis.figure_kinds."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis import figures
from analysis.canvas import (
    DASHES,
    FADED,
    GREY,
    INK,
    PALE,
    ROLES,
    SPLIT_MARKERS,
    STYLE,
    Inks,
    log_scale,
    new_figure,
    png,
)
from analysis.figure_kinds import ArmErrors, Curves, Scatter, SearchCurves
from analysis.notation import points
from analysis.old_design import figures as old_figures
from analysis.old_design.results import OldResults
from analysis.results import Results

PLATE: dict[str, Any] = {"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.75}
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}


def draw_all(results: Results | OldResults) -> dict[str, bytes]:
    """Every figure that the results allow: file name without suffix -> PNG. Cost: about half a second each."""
    inks = Inks(results.arms)
    if isinstance(results, OldResults):
        shown = {name: show(results) for name, show in old_figures.FIGURES.items()}
    else:
        shown = {name: show(results) for name, show in figures.FIGURES.items()}
    with mpl.rc_context(STYLE):
        return {name: png(draw(info, inks)) for name, info in shown.items() if info is not None}


def draw(info: figures.Shown, inks: Inks) -> Figure:
    """The figure of what is shown, of whatever kind it is."""
    if isinstance(info, ArmErrors):
        return arm_errors(info, inks)
    if isinstance(info, Scatter):
        return scatter(info, inks)
    return history_curves(info, inks) if isinstance(info, Curves) else search_curves(info, inks)


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
        axes.scatter(x[~lost], y[~lost], s=17, marker=marker, color=colour, alpha=0.55, lw=0, zorder=3)
        axes.scatter(x[lost], y[lost], s=28, marker="x", color=colour, lw=1.4, zorder=3)
    for arm in info.records:
        y_mean, colour = rows[arm["arm"]] - 0.2, inks.colour[arm["arm"]]
        if arm["mean"] > high:
            axes.plot([edge], [rows[arm["arm"]]], ">", color=colour, ms=7, zorder=5)
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
            )
            continue
        axes.plot([arm["low"], arm["high"]], [y_mean] * 2, color=colour, lw=2.2, solid_capstyle="butt", zorder=4)
        axes.plot([arm["mean"]], [y_mean], "D", color=colour, ms=6, mec="white", mew=0.8, zorder=5)
    axes.set_xlim(low, high)
    axes.set_yticks(list(rows.values()), [f"{arm['arm']}\nn = {arm['n']}" for arm in info.records], color=INK)
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
            axes.plot([edge], [y], "<" if way > 0 else ">", color=colour, ms=7, zorder=5)
            side = "left" if way > 0 else "right"
            axes.annotate(text, (edge, y), xytext=(8 * way, 0), ha=side, va="center", color=ink, bbox=PLATE, **small)
            continue
        inner = bool(np.isfinite(arm["inner_low"]))
        outer: dict[str, Any] = {"color": colour, "lw": 1.5 if inner else 2.4, "solid_capstyle": "butt"}
        axes.plot([arm["difference_low"], arm["difference_high"]], [y, y], **outer)
        if inner:
            axes.plot([arm["inner_low"], arm["inner_high"]], [y, y], color=colour, lw=4.5, solid_capstyle="butt")
        axes.plot([difference], [y], "D", color=colour, ms=6.5, mec="white", mew=0.8, zorder=5)
        axes.annotate(text, (difference, y), xytext=(0, 6), ha="center", color=ink, bbox=PLATE, **small)
    axes.set_xlim(low, high)
    axes.set_xlabel("difference from the reference, points (grey: not claimed)")
    axes.tick_params(axis="y", labelleft=False, length=0)


def scatter(info: Scatter, inks: Inks) -> Figure:
    """Sharpness against the generalization gap, or against train loss."""
    figure = new_figure(8.4, 5.2, info.title, "Small: confirm members. Large: means of arms.")
    axes = figure.add_subplot()
    for arm in inks.ordered(info.means["arm"]):
        rows, mean = info.members[info.members["arm"] == arm], info.means[info.means["arm"] == arm]
        colour, marker = inks.colour[arm], inks.marker[arm]
        axes.scatter(rows["x"], rows["y"], s=18, marker=marker, color=colour, alpha=0.35, lw=0)
        label = f"{arm} (n = {len(rows)})"
        axes.scatter(mean["x"], mean["y"], s=95, marker=marker, color=colour, ec="white", lw=1, zorder=5, label=label)
    log_scale(axes, "x")
    if info.log_y:
        log_scale(axes, "y")
    axes.set_xlabel(f"{info.x_label} (log scale)")
    axes.set_ylabel(info.y_label + (" (log scale)" if info.log_y else ""))
    axes.legend(**BESIDE)
    return figure


def history_curves(info: Curves, inks: Inks) -> Figure:
    """One panel for each thing recorded, one line per arm."""
    note = "Lines: means. Bands: smallest to largest over members."
    figure = new_figure(4.2 * len(info.panels) + 2.4, 4.6, info.title, note)
    arms = inks.ordered(info.lines["arm"])
    for number, (name, label) in enumerate(info.panels.items()):
        axes = figure.add_subplot(1, len(info.panels), number + 1)
        for arm in arms:
            rows = info.lines[(info.lines["arm"] == arm) & (info.lines["name"] == name)].sort_values("epoch")
            colour = inks.colour[arm]
            axes.fill_between(rows["epoch"], rows["low"], rows["high"], color=colour, alpha=0.13, lw=0)
            axes.plot(rows["epoch"], rows["mean"], color=colour, lw=1.8, marker=inks.marker[arm], ms=4.5, markevery=0.2)
        if name in info.log:
            log_scale(axes, "y")
        axes.set_title(label + (" (log scale)" if name in info.log else ""))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    counts = info.lines.groupby("arm")["n"].max()
    handles = [inks.handle(arm, f"{arm} (n = {counts[arm]})") for arm in arms]
    figure.legend(handles=handles, loc="outside right center")
    return figure


def search_curves(info: SearchCurves, inks: Inks) -> Figure:
    """What the best of k configurations reaches."""
    figure = new_figure(8.4, 4.8, info.title, info.note)
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
        axes.plot(rows["k"], rows["value"], label=label, **look)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if info.log:
        log_scale(axes, "y")
    axes.set_xlabel("points searched, k (log scale)")
    axes.set_ylabel(info.label + (" (log scale)" if info.log else ""))
    axes.legend(**BESIDE)
    return figure

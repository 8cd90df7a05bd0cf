"""Configurations that were tried: anything against a dimension, and the map over learning rate and batch size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from analysis.arrays import FloatArray
from analysis.canvas import GREY, INK, Inks, log_scale, new_figure, tick
from analysis.notation import significant
from analysis.plots.choice import EVERYTHING, Choice, Missing, Quantity, chosen, numeric_columns, quantity, said_n
from analysis.plots.history import shown_arms
from analysis.plots.paper import batch_axis, value_axis
from analysis.run import Run
from analysis.svg import spots
from analysis.tips import said_of

DIMENSION, HEAT_MAP = "dimension", "heat_map"
MOST_PANELS = 4
LOG_FROM = 30.0
COLOURS_OF = colormaps["viridis"]


class Tried(NamedTuple):
    """Configurations against a dimension. points: arm, x, y, n (members), is_selected. log: searched on a log scale."""

    title: str
    x: Quantity
    y: Quantity
    points: pd.DataFrame
    log: bool
    note: str


def tried(run: Run, choice: Choice = EVERYTHING) -> Tried:
    """Every configuration tried, one quantity against any column with numbers; the confirmed one is marked.

    Without --x the dimension that most arms search. A configuration's value is the mean over its members of the stage it came to.
    """
    table = chosen(run, run.configurations, choice)
    table = table[table["n"] > 0]
    if table.empty:
        raise Missing(f"figure {DIMENSION}: run {run.asked.name} has no configuration with a result yet")
    known = numeric_columns(table)
    x = quantity(run, choice.x or _searched(run, table), known, f"figure {DIMENSION}")
    y = quantity(run, (choice.y or ("test_error",))[0], known, f"figure {DIMENSION}")
    if table[x.column].nunique() < 2:
        raise Missing(
            f"figure {DIMENSION}: all configurations have one {x.name}: give it over(...) in the space, or --x another"
        )
    arms = shown_arms(run, table["arm"], choice, 8)
    table = table[table["arm"].isin(arms)]
    selected = table["is_selected"].astype(bool) if "is_selected" in table else pd.Series(False, table.index)
    points = pd.DataFrame(
        {"arm": table["arm"], "x": x.of(table[x.column]), "y": y.of(table[y.column]), "n": table["n"]}
    )
    points = points.assign(is_selected=selected).dropna(subset=["x", "y"]).reset_index(drop=True)
    if points.empty:
        raise Missing(f"figure {DIMENSION}: no configuration of run {run.asked.name} has both {x.name} and {y.name}")
    there = run.configurations["arm"].nunique()
    note = f"Dots: configurations, {said_n(points['n'].astype(int).tolist(), 'a dot')}. Ringed: confirmed, with more members."
    if len(arms) < there:
        note += f" {len(arms)} of {there} arms: --arms names others."
    log = any((arm.dimensions or {}).get(x.column, {}).get("log") for arm in run.asked.arms)
    label = y.label.partition(",")[0]
    return Tried(f"{label[0].upper()}{label[1:]} against {x.label.partition(',')[0]}", x, y, points, log, note)


def _searched(run: Run, table: pd.DataFrame) -> str:
    counts: dict[str, int] = {}
    for arm in run.asked.arms:
        for name in arm.dimensions or {}:
            if name in table and pd.api.types.is_numeric_dtype(table[name]) and table[name].nunique() > 1:
                counts[name] = counts.get(name, 0) + 1
    if not counts:
        raise Missing(
            f"figure {DIMENSION}: run {run.asked.name} searches no number: give a field over(...) in the space, or --x a column"
        )
    return max(counts, key=lambda name: counts[name])


def draw_tried(info: Tried, inks: Inks) -> Figure:
    """Dots by arm; lines through the means where a column takes few values."""
    figure = new_figure(8.6, 5.0, info.title, info.note)
    axes = figure.add_subplot()
    few = info.points["x"].nunique() <= 8
    arms = inks.ordered(info.points["arm"])
    for arm in arms:
        rows = info.points[info.points["arm"] == arm].sort_values("x")
        axes.plot(rows["x"], rows["y"], inks.marker[arm], color=inks.colour[arm], ms=5, alpha=0.75, mew=0)
        said = [
            f"{arm}\n{said_of(info.x.label, row['x'])}\n{said_of(info.y.label, row['y'])}\nn = {row['n']}"
            for row in rows.to_dict("records")
        ]
        spots(axes, rows["x"], rows["y"], said, inks.colour[arm])
        ringed = rows[rows["is_selected"]]
        axes.plot(ringed["x"], ringed["y"], "o", color=INK, ms=11, mfc="none", mew=1.3)
        if few and len(rows) > rows["x"].nunique():
            means = rows.groupby("x")["y"].median()
            axes.plot(means.index, means, color=inks.colour[arm], lw=1.3, alpha=0.8)
    value_axis(axes, info.y.label, info.points["y"].to_numpy(np.float64))
    _scale(axes, info.x, info.points["x"], info.log)
    if few and len(info.points) > len(info.points.drop_duplicates(["arm", "x"])):
        axes.set_ylabel(axes.get_ylabel() + ", line: median")
    axes.legend(handles=[inks.handle(arm, arm) for arm in arms], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _scale(axes: Axes, what: Quantity, values: pd.Series, log: bool) -> None:
    if what.column == "batch_size":
        batch_axis(axes, values.tolist())
        return
    is_log = bool(values.min() > 0 and (log or values.max() / values.min() >= LOG_FROM))
    if is_log:
        log_scale(axes, "x")
    axes.set_xlabel(what.label + (" (log scale)" if is_log else ""))


class HeatMap(NamedTuple):
    """Learning rate by batch size. cells: arm, batch_size, lr, value, n. best: of each arm and batch size the best rate."""

    title: str
    what: Quantity
    cells: pd.DataFrame
    best: pd.DataFrame
    log: bool
    note: str


def heat_map(run: Run, choice: Choice = EVERYTHING) -> HeatMap:
    """A quantity over learning rate and batch size, an arm a panel, with the lines of equal eta/B.

    Of arms whose configurations have at least two of either; the values of all members of a cell (every stage) are averaged.
    Where no arm searches both, configurations of arms of several batch sizes make one panel.
    """
    rows = chosen(run, run.members[run.members["status"].isin(("completed", "diverged"))], choice)
    what = quantity(run, (choice.y or ("test_error",))[0], numeric_columns(rows), f"figure {HEAT_MAP}")
    table = pd.DataFrame(
        {"arm": rows["arm"], "batch_size": rows["batch_size"], "lr": rows["lr"], "value": what.of(rows[what.column])}
    )
    table = table.dropna()
    table = table.assign(lr=[float(f"{rate:.6g}") for rate in table["lr"]])
    sizes = table.groupby("arm")["batch_size"].nunique()
    crossed = [str(arm) for arm in sizes.index[sizes > 1]]
    if not crossed:
        plain = [
            arm.name for arm in run.asked.arms if not arm.remedies and arm.role not in ("placebo", "compute_matched")
        ]
        table = table[table["arm"].isin(choice.arms or plain)].assign(arm=run.asked.name)
        crossed = [run.asked.name]
    table = table[table["arm"].isin(crossed)]
    if table.empty or table["batch_size"].nunique() < 2 or table.groupby("batch_size")["lr"].nunique().max() < 2:
        raise Missing(
            f"figure {HEAT_MAP}: run {run.asked.name} has no learning rates at several batch sizes: "
            "write Arm(..., batch_size=over([32, 128, 512]), lr=over([0.01, 0.03, 0.1])) with sampler=Grid()"
        )
    cells = pd.DataFrame(
        table.groupby(["arm", "batch_size", "lr"], as_index=False)["value"].agg(value="mean", n="count")
    )
    order = run.asked.order(cells["arm"].unique().tolist())[:MOST_PANELS]
    cells = (
        cells[cells["arm"].isin(order)]
        .assign(place=lambda t: t["arm"].map(order.index))
        .sort_values(["place", "batch_size", "lr"])
    )
    smaller = what.scale >= 0
    picked = cells.groupby(["arm", "batch_size"])["value"].agg("idxmin" if smaller else "idxmax")
    values = cells["value"]
    log = bool(values.min() > 0 and values.max() / values.min() >= LOG_FROM)
    note = (
        f"Cells: means over members, {said_n(cells['n'].tolist(), 'a cell')}. Dashed: equal learning rate / batch size. "
        "Rings: the best rate of each batch size."
    )
    label = what.label.partition(",")[0]
    title = f"{label[0].upper()}{label[1:]} over learning rate and batch size"
    return HeatMap(
        title, what, cells.drop(columns="place").reset_index(drop=True), cells.loc[picked.to_numpy()], log, note
    )


def edges(values: FloatArray) -> FloatArray:
    """The borders of cells about ascending values, half way between them on a logarithmic axis."""
    logs = np.log(values)
    if len(logs) == 1:
        return np.asarray(np.exp([logs[0] - 0.35, logs[0] + 0.35]))
    middle = (logs[1:] + logs[:-1]) / 2
    return np.asarray(np.exp(np.concatenate([[2 * logs[0] - middle[0]], middle, [2 * logs[-1] - middle[-1]]])))


def draw_heat_map(info: HeatMap) -> Figure:
    """Cells with their values written in, an arm a panel, one scale of colours."""
    arms = list(dict.fromkeys(info.cells["arm"]))
    figure = new_figure(4.6 * len(arms) + 1.8, 5.2, info.title, info.note)
    grid: Any = figure.subplots(1, len(arms), sharey=True, squeeze=False)
    low, high = info.cells["value"].min(), info.cells["value"].max()
    norm: Normalize = LogNorm(low, high) if info.log else Normalize(low, high)
    shown: PatchCollection | None = None
    for axes, arm in zip(grid[0], arms, strict=True):
        own = info.cells[info.cells["arm"] == arm]
        shown = _cells(axes, own, norm)
        said = [
            f"{arm}\nB = {row['batch_size']:,.0f}, rate {row['lr']:.4g}\n"
            f"{said_of(info.what.label, row['value'])}\nn = {row['n']}"
            for row in own.to_dict("records")
        ]
        spots(axes, own["batch_size"], own["lr"], said)
        best = info.best[info.best["arm"] == arm]
        axes.plot(best["batch_size"], best["lr"], "o", ms=28, mfc="none", mec="white", mew=2.6, zorder=5)
        axes.plot(best["batch_size"], best["lr"], "o", ms=28, mfc="none", mec=INK, mew=1.2, zorder=6)
        batch_axis(axes, own["batch_size"].tolist())
        axes.set_title(arm if len(arms) > 1 else "", pad=18)
        _equal_ratio(axes, own, is_last=arm == arms[-1])
    log_scale(grid[0, 0], "y")
    grid[0, 0].set_ylabel("learning rate (log scale)")
    if shown is not None:
        bar = figure.colorbar(shown, ax=list(grid[0]), shrink=0.85, pad=0.02)
        bar.set_label(info.what.label + (" (log colours)" if info.log else ""))
        if info.log:
            bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
            bar.ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    return figure


def _cells(axes: Axes, own: pd.DataFrame, norm: Normalize) -> PatchCollection:
    sizes = np.sort(own["batch_size"].astype("float64").unique())
    across = edges(sizes)
    patches, values = [], []
    many = own.groupby("batch_size")["lr"].nunique().max() > 12 or len(sizes) > 8
    for place, size in enumerate(sizes):
        column = own[own["batch_size"] == size].sort_values("lr")
        up = edges(column["lr"].to_numpy(np.float64))
        for k, (rate, value) in enumerate(zip(column["lr"], column["value"], strict=True)):
            patches.append(Rectangle((across[place], up[k]), across[place + 1] - across[place], up[k + 1] - up[k]))
            values.append(value)
            if not many:
                place_of = float(norm(value))
                plate: dict[str, Any] = {"fc": COLOURS_OF(place_of), "ec": "none", "pad": 1.2}
                ink = INK if place_of > 0.55 else "white"
                axes.annotate(
                    significant(value),
                    (size, rate),
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    color=ink,
                    zorder=7,
                    bbox=plate,
                )
    found = PatchCollection(patches, cmap=COLOURS_OF, norm=norm, lw=0)
    found.set_array(np.array(values))
    axes.add_collection(found)
    axes.set_xlim(across[0], across[-1])
    lows, highs = zip(*((p.get_y(), p.get_y() + p.get_height()) for p in patches), strict=True)
    axes.set_ylim(min(lows), max(highs))
    return found


def _equal_ratio(axes: Axes, own: pd.DataFrame, *, is_last: bool) -> None:
    """Lines of equal eta/B at powers of ten and threes, as far as they cross the map."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    ratios = own["lr"] / own["batch_size"]
    exponents = range(int(np.floor(np.log10(ratios.min()))), int(np.ceil(np.log10(ratios.max()))) + 1)
    for ratio in (m * 10.0**e for e in exponents for m in (1, 3)):
        if not low < ratio * right or not ratio * left < high:
            continue
        axes.plot([left, right], [ratio * left, ratio * right], color="white", lw=2.2, zorder=3)
        axes.plot([left, right], [ratio * left, ratio * right], color=GREY, lw=1.1, ls=(0, (4, 3)), zorder=4)
        end = min(right, high / ratio)
        inside = end < right * 0.999
        if not inside and not is_last:
            # its place is the next panel's
            continue
        axes.annotate(
            f"{ratio:.0e}".replace("e-0", "e-"), (end, ratio * end), fontsize=8, color=GREY, annotation_clip=False,
            xytext=(0, 3) if inside else (3, 0), textcoords="offset points",
            ha="center" if inside else "left", va="bottom" if inside else "center",
        )  # fmt: skip

"""Updates, examples and seconds to a target error against the batch size, with the line of perfect scaling."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.canvas import DASHES, GREY, PALE, log_scale, new_figure
from analysis.how_large import HowLarge, free_up_to, how_large
from analysis.notation import count, percent, significant
from analysis.plots.choice import EVERYTHING, Choice, Missing, confirmed, said_n
from analysis.plots.paper import batch_axis, bounded
from analysis.run import Run
from analysis.svg import spots
from analysis.time_to_target import COSTS
from analysis.tips import mean_tips
from tune_lb.errors import PROGRAM

NAME = "time_to_target"
LABELS = {"updates": "updates to the target", "examples": "examples to the target", "seconds": "seconds to the target"}


class Scaling(NamedTuple):
    """answer: with all tables. title, note: in words."""

    title: str
    answer: HowLarge
    note: str


def time_to_target(run: Run, choice: Choice = EVERYTHING) -> Scaling:
    """What it takes to reach a target error (--target, a fraction) at each batch size of the main series."""
    confirmed(run, choice, NAME)
    answer = how_large(run, choice.target)
    if answer is None:
        raise Missing(
            f"figure {NAME}: run {run.asked.name} has fewer than 3 batch sizes: "
            f"`{PROGRAM} new --batch-sizes 32 64 ... 4096` writes a space"
        )
    found = answer.found
    if found is None:
        raise Missing(
            f"figure {NAME}: no error was recorded over training in run {run.asked.name}: "
            "write Space(watch=Watch(test_error=True)) and train again"
        )
    if found.means["updates"].notna().sum() < 2:
        raise Missing(
            f"figure {NAME}: fewer than 2 batch sizes reach {percent(found.target)} %: give a higher --target"
        )
    what = found.error.replace("_", " ")
    note = f"Target: {percent(found.target)} % {what}, between looks by interpolation. Points: geometric means over members, "
    note += (
        f"{said_n(found.means['n_reached'].astype(int).tolist())}; bars: 95 % intervals over blocks, cut at the edges. "
    )
    note += "Dashed: perfect scaling from the smallest."
    lost = int((found.means["n"] - found.means["n_reached"]).sum())
    if lost:
        note += f" {lost} members never reach it and are left out."
    fit = found.fit
    if fit is not None and fit.high < 1e6 and fit.low > 1:
        note += f" Line: {significant(fit.least)} (1 + {significant(fit.critical)} / B), "
        note += f"95 % {significant(fit.low)} to {significant(fit.high)}."
    if len(answer.noise):
        note += " Triangles at the foot: gradient noise scale as measured."
    if answer.fit is not None and answer.fit.rises and answer.fit.slope > 0:
        note += " Grey: where the final test error begins to rise, 95 % interval."
    title = f"Updates, examples and seconds to {percent(found.target)} % {what}: no loss told up to B = {count(free_up_to(answer))}"
    return Scaling(title, answer, note)


def draw_time_to_target(info: Scaling) -> Figure:
    """A panel for each cost, both axes logarithmic."""
    figure = new_figure(12.6, 4.7, info.title, info.note)
    found = info.answer.found
    assert found is not None
    rows = found.means[found.means["updates"].notna()].sort_values("batch_size")
    sizes = rows["batch_size"].to_numpy(np.float64)
    grid: Any = figure.subplots(1, 3, squeeze=False)
    for axes, cost, colour in zip(grid[0], COSTS, ("#0072B2", "#009E73", "#882255"), strict=True):
        first = float(rows[cost].iloc[0])
        perfect = first * (sizes[0] / sizes if cost == "updates" else np.ones_like(sizes))
        if cost != "seconds":
            axes.plot(sizes, perfect, color=GREY, lw=1.2, ls=DASHES, zorder=1)
        middle = rows[cost].to_numpy(np.float64)
        bars = [np.nan_to_num(middle - rows[f"{cost}_low"]), np.nan_to_num(rows[f"{cost}_high"] - middle)]
        axes.errorbar(sizes, middle, yerr=bars, fmt="o", color=colour, ms=6, elinewidth=1.2, capsize=3, zorder=4)
        if cost == "seconds":
            axes.plot(sizes, middle, color=colour, lw=1.3, zorder=3)
        fit = found.fit
        if fit is not None and cost != "seconds" and fit.high < 1e6 and fit.low > 1:
            at = np.geomspace(sizes[0], sizes[-1], 100)
            line = fit.least * (1 + fit.critical / at)
            axes.plot(at, line * (1 if cost == "updates" else at), color=colour, lw=1.5, zorder=3)
        log_scale(axes, "y")
        named = rows.rename(columns={cost: "mean", f"{cost}_low": "low", f"{cost}_high": "high"})
        ends = bounded(named, log=True)
        if ends is not None:
            axes.set_ylim(ends)
        batch_axis(axes, sizes.tolist())
        axes.set_ylabel(f"{LABELS[cost]} (log scale)")
        shown = rows.assign(
            x=rows["batch_size"].map("B = {:,.0f}".format),
            mean=middle,
            low=rows[f"{cost}_low"],
            high=rows[f"{cost}_high"],
        )
        spots(
            axes, sizes.tolist(), middle.tolist(), mean_tips(shown.assign(n=shown["n_reached"]), LABELS[cost]), colour
        )
        _marks(axes, info.answer, sizes)
    return figure


def _marks(axes: Axes, answer: HowLarge, sizes: np.ndarray[Any, Any]) -> None:
    fit = answer.fit
    if fit is not None and fit.rises and fit.slope > 0:
        low, high = max(fit.low, sizes[0]), min(fit.high if math.isfinite(fit.high) else sizes[-1], sizes[-1])
        axes.axvspan(low, high, color=PALE, lw=0, zorder=0)
        axes.axvline(fit.threshold, color=GREY, lw=1.2, ls=(0, (1.5, 1.5)), zorder=1)
    values: pd.Series = answer.noise["value"] if len(answer.noise) else pd.Series(dtype="float64")
    inside = values[(values >= sizes[0] / 1.4) & (values <= sizes[-1] * 1.4)]
    axes.plot(
        inside,
        np.full(len(inside), 0.03),
        "^",
        transform=axes.get_xaxis_transform(),
        color="#D55E00",
        ms=6,
        mfc="none",
        zorder=5,
    )

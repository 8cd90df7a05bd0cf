"""With and without a remedy at each batch size, as bars (Jaiswal and Taura, figure 7): what of the drop a remedy recovers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.canvas import DASHES, GREY, INK, new_figure
from analysis.notation import percent
from analysis.plots.batch_size import default_quantities
from analysis.plots.choice import (
    EVERYTHING,
    Choice,
    Missing,
    Quantity,
    blocks_of,
    confirmed,
    mean_of,
    numeric_columns,
    quantity,
    said_n,
)
from analysis.plots.paper import looks
from analysis.plots.series import ALONE, series_of
from analysis.run import Run
from analysis.svg import spots
from analysis.tips import mean_tips

NAME = "with_without"
HATCHES = ("", "///", "...", "xx", "\\\\\\", "oo", "--", "++")
MOST_SERIES = 7


class Bars(NamedTuple):
    """bars: batch_size, series, arm, mean, low, high, n, recovered (share of the drop; nan where none can be told).

    members: arm, value. level: of the baseline, nan without one.
    """

    title: str
    what: Quantity
    bars: pd.DataFrame
    members: pd.DataFrame
    level: float
    note: str


def with_without(run: Run, choice: Choice = EVERYTHING) -> Bars:
    """Every series of arms at each batch size, those without a remedy first; what each recovers of the drop there.

    recovered = 1 - (arm - baseline) / (arm without the remedy at that batch size - baseline), from means, where that drop can be
    told from zero over blocks. Raises Missing where no arm has a remedy.
    """
    rows = confirmed(run, choice, NAME)
    with_remedy = [arm.name for arm in run.asked.arms if arm.remedies]
    rows = rows[~rows["arm"].map(lambda name: run.asked.arm(name).role in ALONE) | rows["arm"].isin(choice.arms)]
    if not rows["arm"].isin(with_remedy).any():
        raise Missing(
            f"figure {NAME}: no confirmed arm of run {run.asked.name} has a remedy: "
            'give the space one, as Arm("noise", GradientNoise(alpha=1e-5))'
        )
    name = (choice.y or default_quantities(run)[:1])[0]
    what = quantity(run, name, numeric_columns(rows), f"figure {NAME}")
    of_arm, blocks = series_of(run, rows), blocks_of(rows)
    bars: list[dict[str, Any]] = []
    by_block: dict[str | None, pd.Series] = {}
    for arm in run.asked.order(rows["arm"].unique().tolist()):
        own = rows[rows["arm"] == arm]
        values = what.of(own[what.column])
        series = "without" if of_arm[arm] == "plain" else of_arm[arm]
        size = float(own["batch_size"].iloc[0])
        by_block[arm] = values.groupby(blocks[own.index]).mean()
        bars.append({"batch_size": size, "series": series, "arm": arm, **mean_of(values, blocks[own.index])._asdict()})
    table = pd.DataFrame(bars)
    level = next((row["mean"] for row in bars if row["arm"] == run.asked.baseline), float("nan"))
    small = by_block.get(run.asked.baseline, pd.Series(dtype="float64"))
    told = {
        row["batch_size"]: _told(by_block[row["arm"]] - small)
        for row in bars
        if not run.asked.arm(row["arm"]).remedies and row["series"] == "without"
    }
    drops = table["batch_size"].map(told).astype("float64")
    worse = drops * (1 if what.scale > 0 else -1) > 0
    has_remedy = table["arm"].isin(with_remedy)
    table = table.assign(recovered=(1 - (table["mean"] - level) / drops).where(worse & has_remedy))
    first = sorted(dict.fromkeys(table["series"]), key=lambda s: (s != "without",))
    kept = first if choice.arms else first[:MOST_SERIES]
    table = table[table["series"].isin(kept)].reset_index(drop=True)
    table = (
        table.assign(place=table["series"].map(kept.index)).sort_values(["batch_size", "place"]).drop(columns="place")
    )
    note = f"Bars: means over blocks of confirmed members, {said_n(table['n'].tolist(), 'a bar')}, dots. "
    note += "Whiskers: 95 % intervals over blocks."
    if np.isfinite(level):
        note += f" Dashed: {run.asked.baseline}."
    if table["recovered"].notna().any():
        note += " Percentages: share of the drop from the baseline that is recovered."
    if len(kept) < len(first):
        note += f" {len(kept)} of {len(first)} kinds of arms: --arms names others."
    members = pd.DataFrame({"arm": rows["arm"], "value": what.of(rows[what.column])})
    label = what.label.partition(",")[0]
    return Bars(
        f"{label[0].upper()}{label[1:]} with and without remedies",
        what,
        table.reset_index(drop=True),
        members,
        level,
        note,
    )


def _told(differences: pd.Series) -> float:
    """The mean of differences by block; nan where it cannot be told from zero."""
    found = mean_of(differences, differences.index.to_series())
    return found.mean if found.low * found.high > 0 else float("nan")


def draw_with_without(info: Bars) -> Figure:
    """Groups of bars by batch size; hatches tell the series apart without colour."""
    series = list(dict.fromkeys(info.bars["series"]))
    series.sort(key=lambda name: name != "without")
    of = looks(series)
    hatches = {name: HATCHES[place % len(HATCHES)] for place, name in enumerate(series)}
    sizes = sorted(info.bars["batch_size"].unique())
    counts = [int((info.bars["batch_size"] == size).sum()) for size in sizes]
    figure = new_figure(max(7.0, 2.6 + 0.75 * (sum(counts) + len(sizes))), 5.0, info.title, info.note)
    axes = figure.add_subplot()
    begins, ticks = 0.0, []
    for size, count in zip(sizes, counts, strict=True):
        ticks.append(begins + (count - 1) / 2)
        rows = info.bars[info.bars["batch_size"] == size].to_dict("records")
        for k, row in enumerate(rows):
            x, name = begins + k, str(row["series"])
            axes.bar(
                x, row["mean"], width=0.86, color=of[name].colour, alpha=0.55, ec=INK, lw=0.8, hatch=hatches[name],
            )  # fmt: skip
            if np.isfinite(row["low"]):
                axes.plot([x, x], [row["low"], row["high"]], color=INK, lw=1.4, zorder=4)
            told = pd.DataFrame([row | {"x": f"B = {size:,.0f}"}])
            spots(axes, [x], [row["mean"]], mean_tips(told, info.what.label, str(row["arm"])), of[name].colour)
            own = info.members.loc[info.members["arm"] == row["arm"], "value"]
            axes.plot(x + np.linspace(-0.2, 0.2, len(own)), own, "o", color=INK, ms=3, mfc="white", mew=0.8, zorder=5)
            if np.isfinite(row["recovered"]):
                top = max([row["mean"], *own, row["high"] if np.isfinite(row["high"]) else row["mean"]])
                text = f"{percent(row['recovered'], 0)} %"
                axes.annotate(
                    text, (x, top), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=9, color=INK
                )
        begins += count + 1
    if np.isfinite(info.level):
        axes.axhline(info.level, color=GREY, lw=1.1, ls=DASHES, zorder=3)
    axes.set_xticks(ticks, [f"{size:,.0f}" for size in sizes])
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("batch size")
    axes.set_ylabel(info.what.label)
    if info.what.scale < 0:
        shown = info.members.loc[info.members["arm"].isin(info.bars["arm"]), "value"]
        low, high = min(shown.min(), info.bars["low"].min()), max(shown.max(), info.bars["high"].max())
        foot = max(0.0, low - 0.35 * (high - low))
        axes.set_ylim(foot, min(100.0, high + 0.15 * (high - low)))
        axes.set_ylabel(info.what.label + (" (the axis does not begin at 0)" if foot > 0 else ""))
    patches = [
        axes.bar(0, 0, color=of[n].colour, alpha=0.55, ec=INK, lw=0.8, hatch=hatches[n], label=n) for n in series
    ]
    figure.legend(handles=patches, loc="outside right center")
    return figure

"""Anything against the batch size, with twin axes and the batch size from which the error rises."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.canvas import GREY, PALE, new_figure
from analysis.notation import count, counted
from analysis.plots.choice import (
    EVERYTHING,
    Choice,
    Missing,
    Quantity,
    blocks_of,
    confirmed,
    how_to_measure,
    mean_of,
    numeric_columns,
    quantity,
    said_n,
)
from analysis.plots.paper import Look, batch_axis, bounded, looks, scale_of, twin, value_axis
from analysis.plots.series import series_of
from analysis.run import Run
from analysis.segmented_fit import MIN_SIZES, SegmentedFit, segmented_fit
from analysis.svg import spots
from analysis.tips import mean_tips
from tune_lb.errors import PROGRAM

NAME = "batch_size"
MOST_ON_TWIN = 3
"""Series up to which two quantities share a panel."""
PREFERRED = ("keskar.full_1e-3", "lambda_max")
ACCURACY_IN = ("keskar:", "jaiswal:")
"""Papers whose figures show accuracies, not errors."""


class AgainstBatch(NamedTuple):
    """points: series, quantity, batch_size, mean, low, high, n. fits: series -> the fit of the first quantity, where it has one."""

    title: str
    quantities: tuple[Quantity, ...]
    points: pd.DataFrame
    fits: dict[str, SegmentedFit]
    note: str

    @property
    def series(self) -> list[str]:
        """The names of the series, in their order."""
        return list(dict.fromkeys(self.points["series"]))


def against_batch(run: Run, choice: Choice = EVERYTHING) -> AgainstBatch:
    """Confirmed members against their batch size: means over blocks, and where the first quantity, an error, begins to rise.

    Raises Missing where all arms have one batch size.
    """
    rows = confirmed(run, choice, NAME)
    sizes = rows["batch_size"].nunique()
    if sizes < 2:
        raise Missing(
            f"figure {NAME}: the arms of run {run.asked.name} have one batch size: give arms of several, as "
            f'Arm("batch_512", batch_size=512) (`{PROGRAM} new --batch-sizes 32 64 ... 4096` writes such a space)'
        )
    names = choice.y or default_quantities(run)
    quantities = tuple(quantity(run, name, numeric_columns(rows), f"figure {NAME}") for name in names)
    of_arm = series_of(run, rows)
    rows = rows.assign(series=rows["arm"].map(of_arm))
    shared = rows.groupby("series")["batch_size"].nunique()
    if not choice.arms and (shared > 1).any():
        # an arm of one batch size is no line; it is shown where it is asked for
        rows = rows[rows["series"].isin(shared.index[shared > 1])]
    order = list(dict.fromkeys(of_arm.values()))
    blocks = blocks_of(rows)
    points, fits = [], {}
    for name in (name for name in order if (rows["series"] == name).any()):
        own = rows[rows["series"] == name]
        for what in quantities:
            for size, members in own.groupby("batch_size"):
                values = what.of(members[what.column])
                if values.notna().any():
                    found = mean_of(values, blocks[values.index])
                    points.append({"series": name, "quantity": what.name, "batch_size": float(size), **found._asdict()})  # type: ignore[arg-type]
        first = quantities[0]
        if first.is_error:
            values = first.of(own[first.column])
            fit = segmented_fit(
                own["batch_size"].to_numpy(np.float64),
                values.to_numpy(np.float64),
                blocks[own.index].to_numpy(np.float64),
            )
            if fit is not None:
                fits[name] = fit
    table = pd.DataFrame(points)
    if table.empty or not table["quantity"].eq(quantities[0].name).any():
        raise Missing(
            f"figure {NAME}: no confirmed member has {quantities[0].name}: {how_to_measure(quantities[0].column)}"
        )
    return AgainstBatch(
        _title(quantities[0], fits, table), quantities, table, fits, _note(run, table, quantities, fits)
    )


def default_quantities(run: Run) -> tuple[str, ...]:
    """The test error (the accuracy where the run repeats a paper that shows accuracies) and a sharpness that was measured."""
    share = run.asked.error is None and run.asked.is_share
    accuracy = share and any(row.startswith(ACCURACY_IN) for row in run.asked.rows)
    sharp = [name for name in (*PREFERRED, *run.sharpness_values) if name in run.sharpness_values]
    return ("test_accuracy" if accuracy else "test_error", *sharp[:1])


def drop_begins(fit: SegmentedFit, what: Quantity) -> str:
    """What a fit says, in words: "rises from B = 500 on [120, 900]"."""
    verb = "falls" if fit.slope < 0 else "rises"
    if not fit.rises:
        return "no change with B can be told"
    if fit.slope * what.scale < 0:
        return f"{verb} with B: no drop"
    ends = f"[{'below all' if fit.low == 0 else count(fit.low)}, {'the largest' if math.isinf(fit.high) else count(fit.high)}]"
    return f"{verb} from B = {count(fit.threshold)} on {ends}"


def _title(what: Quantity, fits: dict[str, SegmentedFit], table: pd.DataFrame) -> str:
    label = what.label.partition(",")[0]
    if not fits:
        sizes = sorted(table["batch_size"].unique())
        return f"{label[0].upper()}{label[1:]} against the batch size, {count(sizes[0])} to {count(sizes[-1])}"
    if len(fits) == 1:
        said = drop_begins(next(iter(fits.values())), what)
        return f"{label[0].upper()}{label[1:]}: {said}"
    return f"{label[0].upper()}{label[1:]} against the batch size, and where it begins to change"


def _note(run: Run, table: pd.DataFrame, quantities: tuple[Quantity, ...], fits: dict[str, SegmentedFit]) -> str:
    numbers = table["n"].astype(int).tolist()
    text = f"Points: means over blocks of confirmed members, {said_n(numbers)}. Bars: 95 % intervals over blocks."
    for what in quantities:
        own = table[table["quantity"] == what.name]
        if bounded(own, log=False) is not None:
            text += " Bars that reach an edge go on."
            break
    if any(fit.rises for fit in fits.values()):
        text += " Grey band, or bar at the foot: 95 % interval of the batch size from which it changes"
        text += " (fit: a level, then a line in log2 B)."
        if not all(fit.fits for fit in fits.values()):
            text += " A level and a line do not fit all that is shown: trust the points."
    elif quantities[0].is_error:
        most = int(table.groupby("series")["batch_size"].nunique().max())
        if most < MIN_SIZES:
            text += f" {counted(most, 'batch size')}: no fit of where a drop begins below {MIN_SIZES}."
    for what in quantities:
        described = run.frames.descriptions.get(what.column)
        if described and "." in what.column:
            text += f" {what.column}: {described}."
    return text


def draw_against_batch(info: AgainstBatch) -> Figure:
    """Twin axes for two quantities of few series, else a panel for each."""
    series, of = info.series, looks(info.series)
    two = len(info.quantities) == 2 and len(series) <= MOST_ON_TWIN
    panels = 1 if two else len(info.quantities)
    figure = new_figure(8.6 if panels == 1 else 4.9 * panels + 2.2, 5.0, info.title, info.note)
    first: Axes = figure.add_subplot(1, panels, 1)
    axes = [first]
    if two:
        alone = len(series) == 1
        other = twin(first, "#D55E00" if alone else GREY)
        axes.append(other)
    else:
        axes += [figure.add_subplot(1, panels, number + 1) for number in range(1, panels)]
    for number, what in enumerate(info.quantities):
        values = info.points[info.points["quantity"] == what.name]
        for name in series:
            look = of[name]
            if two and len(series) == 1:
                look = Look("#0072B2", "o", "-") if number == 0 else Look("#D55E00", "s", (0, (5, 2)))
            elif two:
                look = look._replace(dashes="-" if number == 0 else (0, (4, 2)))
            own = values[values["series"] == name]
            _line(axes[number], own, look, hollow=two and number == 1)
            said = mean_tips(own.assign(x=own["batch_size"].map("B = {:,.0f}".format)), what.label, name)
            spots(axes[number], own["batch_size"], own["mean"], said, look.colour)
        is_log = value_axis(axes[number], what.label, values["mean"].to_numpy(np.float64), log=scale_of(what))
        ends = bounded(values, log=is_log)
        if ends is not None:
            axes[number].set_ylim(ends)
        if two and len(series) == 1:
            axes[number].yaxis.label.set_color("#0072B2" if number == 0 else "#D55E00")
    sizes = info.points["batch_size"].tolist()
    for place in axes[: 1 if two else None]:
        batch_axis(place, sizes)
    _thresholds(first, info, of, sizes)
    if len(series) > 1:
        figure.legend(handles=[of[name].handle(_label(info, name)) for name in series], loc="outside right center")
    if two and len(series) > 1:
        axes[-1].set_ylabel(axes[-1].get_ylabel() + "\n(dashed, hollow)")
        first.set_ylabel(first.get_ylabel() + " (solid, filled)")
    return figure


def _label(info: AgainstBatch, name: str) -> str:
    if name in info.fits and len(info.fits) > 1:
        return f"{name}\n{drop_begins(info.fits[name], info.quantities[0])}"
    return name


def _line(axes: Axes, rows: pd.DataFrame, look: Look, *, hollow: bool) -> None:
    rows = rows.sort_values("batch_size")
    bars = [(rows["mean"] - rows["low"]).fillna(0.0), (rows["high"] - rows["mean"]).fillna(0.0)]
    face = "white" if hollow else look.colour
    axes.errorbar(
        rows["batch_size"], rows["mean"], yerr=np.array(bars), mfc=face, mec=look.colour, mew=1.4,
        elinewidth=1.1, capsize=2.5, zorder=3, **look.line,
    )  # fmt: skip


def _thresholds(axes: Axes, info: AgainstBatch, of: dict[str, Look], sizes: list[float]) -> None:
    least, most = min(sizes), max(sizes)
    shown = {name: fit for name, fit in info.fits.items() if fit.rises and fit.slope * info.quantities[0].scale > 0}
    for place, (name, fit) in enumerate(shown.items()):
        low, high = max(fit.low, least), min(fit.high, most)
        if len(info.fits) == 1:
            axes.axvspan(low, high, color=PALE, zorder=0, lw=0)
            axes.axvline(fit.threshold, color=GREY, lw=1.3, ls=(0, (4, 3)), zorder=1)
            continue
        foot = axes.get_xaxis_transform()
        y = 0.02 + 0.025 * place
        axes.plot([low, high], [y, y], transform=foot, color=of[name].colour, lw=2.5, alpha=0.6, solid_capstyle="butt")
        axes.plot([fit.threshold], [y], of[name].marker, transform=foot, color=of[name].colour, ms=6, zorder=5)

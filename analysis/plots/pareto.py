"""Error, sharpness and cost of the arms at once: which of them no other one beats."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.canvas import INK, Inks, log_scale, new_figure
from analysis.notation import listed
from analysis.plots.batch_size import PREFERRED
from analysis.plots.choice import EVERYTHING, Choice, Missing, Quantity, chosen, numeric_columns, quantity, said_n
from analysis.price import pareto
from analysis.run import Run
from analysis.svg import tip
from analysis.tips import said_of

NAME = "pareto"
COST = "gradient_evaluations"


class Front(NamedTuple):
    """arms: arm, n, on_front, and a column for each quantity in its unit; lower is better in all."""

    title: str
    quantities: tuple[Quantity, ...]
    arms: pd.DataFrame
    note: str


def front(run: Run, choice: Choice = EVERYTHING) -> Front:
    """Means of the arms in test error, gradient evaluations and the first sharpness measured (or --y), and the front."""
    table = chosen(run, run.arms, choice)
    table = table[table["n"] > 0]
    if len(table) < 2:
        raise Missing(
            f"figure {NAME}: run {run.asked.name} has fewer than two arms with confirmed members: let the search go on"
        )
    sharp = [name for name in (*PREFERRED, *run.sharpness_values) if name in run.sharpness_values]
    names = choice.y or ("test_error", COST, *sharp[:1])
    if any(name.endswith("_accuracy") for name in names):
        raise Missing(f"figure {NAME}: lower is better in all that it shows: take errors, not accuracies")
    quantities = tuple(quantity(run, name, numeric_columns(table), f"figure {NAME}") for name in names)
    if len(quantities) < 2:
        raise Missing(f"figure {NAME}: give --y two columns or three")
    found = pareto(table, [what.column for what in quantities])
    shown = found[["arm", "n", "on_front"]].assign(**{what.name: what.of(found[what.column]) for what in quantities})
    on = found["on_front"].sum()
    title = f"{on} of {len(found)} arms are beaten by none in {listed([what.label.partition(',')[0] for what in quantities])}"
    note = f"Means over confirmed members, {said_n(found['n'].tolist(), 'an arm')}. Ringed: no other arm is as low in all. "
    note += "By means alone, so exploratory: arms that lie close are not told apart. Lower and further left is better."
    return Front(title, quantities, shown, note)


def draw_front(info: Front, inks: Inks) -> Figure:
    """The first quantity against each of the others."""
    error, *others = info.quantities
    figure = new_figure(4.9 * len(others) + 2.6, 5.0, info.title, info.note)
    grid: Any = figure.subplots(1, len(others), sharey=True, squeeze=False)
    for axes, what in zip(grid[0], others, strict=True):
        for row in info.arms.to_dict("records"):
            x, y, arm = row[what.name], row[error.name], str(row["arm"])
            said = [said_of(q.label, row[q.name]) for q in info.quantities]
            shown = tip(arm, *said, f"n = {row['n']}", *(["no other arm is as low in all"] if row["on_front"] else []))
            axes.plot([x], [y], inks.marker[arm], color=inks.colour[arm], ms=7, zorder=4, url=shown)
            if row["on_front"]:
                axes.plot([x], [y], "o", ms=14, mfc="none", mec=INK, mew=1.2, zorder=3)
        _axis(axes, what, info.arms[what.name])
    grid[0, 0].set_ylabel(error.label)
    names = inks.ordered(info.arms["arm"])
    on = set(info.arms.loc[info.arms["on_front"], "arm"])
    columns = -(-len(names) // 22)
    handles = [inks.handle(arm, f"{arm}{' (front)' if arm in on else ''}") for arm in names]
    for handle in handles:
        handle.set_linestyle("")
    figure.legend(handles=handles, loc="outside right center", ncols=columns)
    return figure


def _axis(axes: Axes, what: Quantity, values: pd.Series) -> None:
    known = values[np.isfinite(values)]
    is_log = len(known) > 0 and bool(known.min() > 0 and known.max() / known.min() > 5)
    if is_log:
        log_scale(axes, "x")
    axes.set_xlabel(what.label + (" (log scale)" if is_log else ""))

"""What was recorded while members trained: train and test curves, any names on twin axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.canvas import INK, Inks, new_figure
from analysis.notation import listed
from analysis.plots.choice import EVERYTHING, Choice, Missing, Quantity, confirmed, quantity, said_n
from analysis.plots.paper import scale_of, twin, value_axis
from analysis.reach import reach, within
from analysis.run import Run
from analysis.svg import spots
from analysis.tips import mean_tips

TRAIN_AND_TEST, CURVES = "train_and_test", "curves"
PARTS = {"train": "-", "validation": (0, (1.5, 1.5)), "test": (0, (5, 2))}
MOST_ARMS, MOST_PAIRED = 8, 4
"""Arms that are drawn where none are asked for: of lines by themselves, and of lines for each part."""
MOST_TIPS = 24
"""Places of a line that have a tip."""
OBSERVED = {
    "test_error": "Watch(test_error=True)",
    "test_loss": "Watch(test_error=True)",
    "walk.cosine": "Walk(epochs=(1, 10, 25))",
}
GAP = "generalization_gap"
"""Made of test_error and train_error at the same look, where both are in the history."""


class Lines(NamedTuple):
    """Curves over training. lines: arm, name, x, mean, low, high (over members), n. quantities: in the order of the panels."""

    title: str
    quantities: tuple[Quantity, ...]
    lines: pd.DataFrame
    x_label: str
    note: str


def shown_arms(run: Run, there: Iterable[str], choice: Choice, most: int) -> list[str]:
    """The arms to draw: those asked for; else baseline and reference, and then the others in their order, at most so many."""
    names = run.asked.order(list(dict.fromkeys(there)))
    first = [name for name in (run.asked.baseline, run.asked.reference) if name in names]
    found = list(dict.fromkeys([*first, *names]))
    return found if choice.arms else found[:most]


def recorded(run: Run, choice: Choice, figure: str, most: int = MOST_ARMS) -> pd.DataFrame:
    """History of the confirmed members that are shown, with their arms. Raises Missing where nothing was recorded."""
    rows = confirmed(run, choice, figure)
    keys = rows[["trial_id", "seed", "arm", "batch_size", "lr"]]
    wanted = run.history["trial_id"].isin(set(keys["trial_id"]))
    found = run.history[wanted].merge(keys, on=["trial_id", "seed"])
    found = found[found["arm"].isin(shown_arms(run, found["arm"], choice, most))]
    if found.empty:
        raise Missing(
            f"figure {figure}: no confirmed member of run {run.asked.name} has a history: nothing was watched; "
            "write Space(watch=Watch(test_error=True), walk=Walk(epochs=(1, 10))) and train again"
        )
    return found


def with_gap(history: pd.DataFrame) -> pd.DataFrame:
    """The history with generalization_gap, test_error - train_error where both were recorded at a step."""
    both = history[history["name"].isin(("test_error", "train_error"))]
    keys = [name for name in history.columns if name not in ("name", "value", "wall_s")]
    if both["name"].nunique() < 2 or (history["name"] == GAP).any():
        return history
    wide = both.drop_duplicates([*keys, "name"]).pivot(index=keys, columns="name", values="value")
    gap = (wide["test_error"] - wide["train_error"]).dropna().rename("value").reset_index()
    return pd.concat([history, gap.assign(name=GAP)], ignore_index=True)


def history_quantities(run: Run, history: pd.DataFrame, names: tuple[str, ...], figure: str) -> tuple[Quantity, ...]:
    """The quantities of those names. Raises Missing that says what would have to be watched, RequestError for unknown names."""
    known = set(history["name"])
    for name in names:
        column = f"{name.removesuffix('_accuracy')}_error" if name.endswith("_accuracy") else name
        if column in known:
            continue
        setting = OBSERVED.get(column, f'Watch(metrics=("{column}",))' if column in run.members else None)
        if column == GAP:
            setting = "Watch(test_error=True)"
        if setting:
            kind = setting.partition("(")[0].lower()
            raise Missing(
                f"figure {figure}: {column} is not in the history: write Space({kind}={setting}) and train again"
            )
    return tuple(quantity(run, name, known, f"figure {figure}, history of run {run.asked.name}") for name in names)


def lines_of(history: pd.DataFrame, quantities: tuple[Quantity, ...], x: str) -> pd.DataFrame:
    """Mean and range over an arm's members of each quantity, at each place in training: arm, name, x, mean, low, high, n."""
    parts = []
    for what in quantities:
        rows = history[history["name"] == what.column]
        values = pd.DataFrame({"arm": rows["arm"], "x": rows[x].round(9), "value": what.of(rows["value"])}).dropna()
        grouped = values.groupby(["arm", "x"], as_index=False)["value"]
        found = pd.DataFrame(grouped.agg(mean="mean", low="min", high="max", n="count"))
        parts.append(found.assign(name=what.name))
    return pd.concat(parts, ignore_index=True)


def train_and_test(run: Run, choice: Choice = EVERYTHING) -> Lines:
    """Error and loss on the train part and on the test part (the validation part where no test error was watched), by epoch."""
    history = recorded(run, choice, TRAIN_AND_TEST, MOST_PAIRED)
    known = set(history["name"])
    if choice.y:
        quantities = history_quantities(run, history, choice.y, TRAIN_AND_TEST)
    else:
        other = "test" if "test_error" in known else "validation" if "validation_error" in known else None
        if other is None or not {"train_error", "train_loss"} & known:
            raise Missing(
                f"figure {TRAIN_AND_TEST}: run {run.asked.name} has no test error over training: "
                "write Space(watch=Watch(test_error=True)) and train again"
            )
        names = [f"{part}_{kind}" for kind in ("error", "loss") for part in ("train", other)]
        quantities = history_quantities(run, history, tuple(name for name in names if name in known), TRAIN_AND_TEST)
    x = choice.x or "epoch"
    table, cut = _as_far(lines_of(history, quantities, x))
    parts = listed([part for part in PARTS if any(what.column.startswith(part) for what in quantities)])
    note = _note(run, table) + cut
    if "test_error" not in known and not choice.y:
        note += " No test error was watched: validation examples stand for the test examples."
    return Lines(f"{parts[0].upper()}{parts[1:]} over training", quantities, table, x, note)


def history(run: Run, choice: Choice = EVERYTHING) -> Lines:
    """Any names of the history, up to two on twin axes. Raises Missing with the setting that would record a name."""
    found = with_gap(recorded(run, choice, CURVES))
    names = choice.y
    if not names:
        known = set(found["name"])
        sharp = [
            n
            for n in ("lambda_max", "train_mode_spectral_norm", "spectral_norm", "batch_lambda_max", "parameter_norm")
            if n in known
        ]
        other = [
            n
            for n in (GAP, "test_error", "validation_error", "train_error", "train_loss", "running_train_loss")
            if n in known
        ]
        names = (*sharp[:1], *other[:1]) if sharp else tuple(other[:2])
    quantities = history_quantities(run, found, tuple(names), CURVES)
    x = choice.x or "epoch"
    if x not in ("epoch", "step", "wall_s"):
        raise Missing(f"figure {CURVES}: --x {x}: histories are by epoch, step or wall_s")
    table, cut = _as_far(lines_of(found, quantities, x))
    title = listed([what.label.partition(",")[0] for what in quantities]) + " over training"
    return Lines(title_case(title), quantities, table, x, _note(run, table) + cut)


def _as_far(lines: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The lines as far as most arms train, and what is said of those that go on."""
    return within(lines, "x"), reach(lines, "x")[1]


def title_case(text: str) -> str:
    """A title that begins with a capital, unless it begins with a symbol or the name of a column."""
    plain = text[:1].isalpha() and "_" not in text.partition(" ")[0]
    return text[:1].upper() + text[1:] if plain else text


def _note(run: Run, table: pd.DataFrame) -> str:
    text = f"Lines: means over confirmed members, {said_n(table['n'].tolist())}. Bands: smallest to largest."
    return text + left_out(run, table)


def left_out(run: Run, table: pd.DataFrame) -> str:
    """Says how many of the confirmed arms a figure leaves out."""
    there, shown = run.confirmed["arm"].nunique(), table["arm"].nunique()
    return f" {shown} of {there} arms: --arms names others." if shown < there else ""


def draw_train_and_test(info: Lines, inks: Inks) -> Figure:
    """A panel for errors and one for losses: train solid, test dashed, arms by colour and marker."""
    kinds = list(dict.fromkeys(what.column.rpartition("_")[2] for what in info.quantities))
    figure = new_figure(4.6 * len(kinds) + 2.4, 4.8, info.title, info.note)
    arms = inks.ordered(info.lines["arm"])
    for place, kind in enumerate(kinds):
        axes: Axes = figure.add_subplot(1, len(kinds), place + 1)
        own = [what for what in info.quantities if what.column.endswith(kind)]
        for what in own:
            part = next((part for part in PARTS if what.column.startswith(part)), "train")
            for arm in arms:
                rows = info.lines[(info.lines["arm"] == arm) & (info.lines["name"] == what.name)].sort_values("x")
                axes.fill_between(rows["x"], rows["low"], rows["high"], color=inks.colour[arm], alpha=0.1, lw=0)
                axes.plot(rows["x"], rows["mean"], color=inks.colour[arm], ls=PARTS[part], lw=1.8)
                _tips(axes, rows, arm, what, info, inks)
                every = max(1, len(rows) // 6)
                axes.plot(
                    rows["x"].iloc[::every],
                    rows["mean"].iloc[::every],
                    inks.marker[arm],
                    color=inks.colour[arm],
                    ms=4.5,
                )
        value_axis(
            axes,
            _shared(own),
            info.lines.loc[info.lines["name"].isin([what.name for what in own]), "mean"].to_numpy(np.float64),
        )
        _x_axis(axes, info.x_label)
    parts = [part for part in PARTS if any(what.column.startswith(part) for what in info.quantities)]
    handles = [inks.handle(arm, arm) for arm in arms] + [
        Line2D([], [], color=INK, ls=PARTS[part], lw=1.8, label=part) for part in parts
    ]
    figure.legend(handles=handles, loc="outside right center")
    return figure


def draw_history(info: Lines, inks: Inks) -> Figure:
    """Two names on twin axes (the second dashed), or one; a panel for each arm where two names of several arms would cross."""
    arms = inks.ordered(info.lines["arm"])
    two = len(info.quantities) > 1
    columns = min(len(arms), 4) if two else 1
    rows_of_panels = -(-len(arms) // 4) if two else 1
    figure = new_figure(
        3.9 * columns + (1.2 if columns > 1 else 4.4), 1.6 + 3.4 * rows_of_panels, info.title, info.note
    )
    first: Axes | None = None
    last: Axes | None = None
    for place in range(len(arms) if two else 1):
        axes: Axes = figure.add_subplot(rows_of_panels, columns, place + 1, sharex=first, sharey=first)
        first = first or axes
        shown = [arms[place]] if two else arms
        _lines(axes, info, info.quantities[0], shown, inks, "-")
        if two:
            axes.set_title(arms[place])
            other = twin(axes)
            if last is not None:
                other.sharey(last)
            last = other
            for what in info.quantities[1:]:
                _lines(other, info, what, shown, inks, (0, (5, 2)))
            _label(other, info, info.quantities[1], "right", place % columns == columns - 1 or place == len(arms) - 1)
        _label(axes, info, info.quantities[0], "left", place % columns == 0)
        _x_axis(axes, info.x_label)
    if not two:
        figure.legend(handles=[inks.handle(arm, arm) for arm in arms], loc="outside right center")
    return figure


def _label(axes: Axes, info: Lines, what: Quantity, side: str, is_end: bool) -> None:
    values = info.lines.loc[info.lines["name"] == what.name, "mean"].to_numpy(np.float64)
    look = " (solid)" if side == "left" else " (dashed)"
    value_axis(axes, what.label + (look if len(info.quantities) > 1 else ""), values, log=scale_of(what))
    if not is_end:
        axes.set_ylabel("")
        axes.tick_params(axis="y", labelleft=False, labelright=False, which="both")


def _lines(axes: Axes, info: Lines, what: Quantity, arms: list[str], inks: Inks, dashes: object) -> None:
    for arm in arms:
        rows = info.lines[(info.lines["arm"] == arm) & (info.lines["name"] == what.name)].sort_values("x")
        axes.fill_between(rows["x"], rows["low"], rows["high"], color=inks.colour[arm], alpha=0.13, lw=0)
        _tips(axes, rows, arm, what, info, inks)
        every = max(1, len(rows) // 8)
        axes.plot(
            rows["x"], rows["mean"], color=inks.colour[arm], ls=dashes, lw=1.7, marker=inks.marker[arm], ms=4.5, markevery=every,
            mfc=inks.colour[arm] if dashes == "-" else "white",
        )  # fmt: skip


def _tips(axes: Axes, rows: pd.DataFrame, arm: str, what: Quantity, info: Lines, inks: Inks) -> None:
    there = rows.iloc[:: max(1, len(rows) // MOST_TIPS)]
    places = there["x"].map(lambda x: f"{info.x_label} {x:g}")
    spots(
        axes,
        there["x"],
        there["mean"],
        mean_tips(there.assign(x=places), what.label, arm, ranges=True),
        inks.colour[arm],
    )


def _shared(own: list[Quantity]) -> str:
    """The label of an axis that several parts share: "error, %"."""
    label = own[0].label
    for part in PARTS:
        label = label.removeprefix(f"{part} ")
    return label if len(own) > 1 else own[0].label


def _x_axis(axes: Axes, name: str) -> None:
    axes.set_xlabel({"step": "update", "wall_s": "training time, s"}.get(name, name))
    if name != "wall_s":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))

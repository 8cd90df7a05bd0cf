"""Losses on paths between members, several in one panel, a panel for each network (Keskar figure 3, Hynes figure 2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.canvas import DASHES, GREY, INK, new_figure
from analysis.notation import significant
from analysis.plots.choice import EVERYTHING, Choice, Missing
from analysis.plots.paper import looks, twin, value_axis
from analysis.run import Run
from analysis.svg import spots
from tune_lb.errors import PROGRAM, RequestError, nearest
from tune_lb.results.tables import decode_table

NAME = "paths"
KINDS = ("linear", "curved")
LABELS = {
    "train_loss": "loss, nats",
    "test_loss": "loss, nats",
    "train_error": "error, %",
    "test_error": "error, %",
    "train_accuracy": "accuracy, %",
    "test_accuracy": "accuracy, %",
}


class Paths(NamedTuple):
    """lines: panel (network), path (which members), name, alpha, value. names: what is drawn, train before test."""

    title: str
    names: tuple[str, ...]
    lines: pd.DataFrame
    note: str


def paths(run: Run, choice: Choice = EVERYTHING) -> Paths:
    """Every stored path of the run and of those beside it. --y: train_loss, test_error, ...; --x: linear or curved."""
    names = choice.y or ("train_loss", "test_loss")
    kind = choice.x or "linear"
    for name in names:
        if name not in LABELS:
            raise RequestError(f"figure {NAME}: there is no {name!r} on a path{nearest(name, LABELS)}")
    if kind not in KINDS:
        raise RequestError(f"figure {NAME}: --x {kind}: paths are linear or curved")
    runs = (run, *choice.also)
    parts = [_stored(one, kind, several=len(runs) > 1) for one in runs]
    found = (
        pd.concat([part for part in parts if len(part)], ignore_index=True) if any(map(len, parts)) else pd.DataFrame()
    )
    if len(found) and choice.arms:
        found = found[found["a_arm"].isin(choice.arms) | found["b_arm"].isin(choice.arms)]
    if found.empty:
        raise Missing(
            f"figure {NAME}: run {run.asked.name} has no {kind} path between members: "
            f"`{PROGRAM} landscape {run.asked.name} ARM_A ARM_B` makes one"
        )
    lines = []
    for name in names:
        column = name.replace("accuracy", "error")
        values = found[column].astype("float64")
        shown = 100 * (1 - values) if name != column else 100 * values if column.endswith("error") else values
        lines.append(found[["panel", "path", "alpha"]].assign(name=name, value=shown))
    table = pd.concat(lines, ignore_index=True)
    formula = "(1 - a) A + a B" if kind == "linear" else "cos(a pi/2) A + sin(a pi/2) B"
    modes = {
        "recalibrate": "recomputed at every point",
        "interpolate": "mixed like the weights",
        "batch": "of each batch",
    }
    used = ", ".join(modes[mode] for mode in dict.fromkeys(found["batch_norm"]))
    note = f"Weights {formula}, one pair of members a line. Batch-norm statistics {used}."
    return Paths(
        f"Along the {'straight' if kind == 'linear' else 'curved'} paths between members", tuple(names), table, note
    )


def _stored(run: Run, kind: str, *, several: bool) -> pd.DataFrame:
    store = run.frames.store
    if store is None:
        return pd.DataFrame()
    folder = store.child("landscapes")
    tables = [decode_table(folder.read(name)).to_pandas() for name in folder.list("", ".parquet")]
    tables = [table[(table["kind"] == kind) & table["b_arm"].notna()] for table in tables]
    tables = [table for table in tables if len(table)]
    if not tables:
        return pd.DataFrame()
    found = pd.concat(tables, ignore_index=True)
    networks = found["a_arm"].map(lambda arm: run.asked.networks.get(arm, ""))
    prefix = f"{run.asked.name}: " if several else ""
    pair = prefix + found["a_arm"] + " (A) to " + found["b_arm"] + " (B)"
    # several members of the same two arms are told apart by their seeds
    seeds = found.groupby(["a_arm", "b_arm"])["a_seed"].transform("nunique") > 1
    pair = pair.where(~seeds, pair + ", seed " + found["a_seed"].astype(str))
    shown: pd.DataFrame = found.assign(panel=networks, path=pair).sort_values(["panel", "path", "alpha"])
    return shown


def draw_paths(info: Paths) -> Figure:
    """A panel a network; train solid, test dashed; errors on a second axis where both kinds are asked for."""
    panels = list(dict.fromkeys(info.lines["panel"]))
    columns = min(len(panels), 3)
    down = -(-len(panels) // columns)
    figure = new_figure(4.7 * columns + 3.4, 1.4 + 3.7 * down, info.title, info.note)
    of = looks(dict.fromkeys(info.lines["path"]))
    labels = list(dict.fromkeys(LABELS[name] for name in info.names))
    for place, panel in enumerate(panels):
        axes: Axes = figure.add_subplot(down, columns, place + 1)
        places = {labels[0]: axes} | ({labels[1]: twin(axes)} if len(labels) > 1 else {})
        rows = info.lines[info.lines["panel"] == panel]
        for name in info.names:
            for path, own in rows[rows["name"] == name].groupby("path", sort=False):
                look = of[str(path)]
                test = name.startswith("test")
                style: dict[str, Any] = {
                    "color": look.colour,
                    "lw": 1.7,
                    "ls": (0, (5, 2)) if test else "-",
                    "marker": look.marker,
                    "ms": 3.6,
                }
                place_of = places[LABELS[name]]
                place_of.plot(own["alpha"], own["value"], mfc="white" if test else look.colour, **style)
                pairs = zip(own["alpha"], own["value"], strict=True)
                said = [f"{path}\na = {a:g}\n{name.replace('_', ' ')} {significant(value, 3)}" for a, value in pairs]
                spots(place_of, own["alpha"], own["value"], said, look.colour)
        for label, where in places.items():
            value_axis(where, label, rows.loc[rows["name"].map(LABELS) == label, "value"].to_numpy(np.float64))
        for end, text in ((0, "A"), (1, "B")):
            axes.axvline(end, color=GREY, lw=1, ls=DASHES, zorder=0)
            axes.annotate(
                text,
                (end, 1),
                xytext=(3, -10),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                color=GREY,
                fontsize=9,
            )
        axes.set_xlabel("a")
        axes.set_title(panel)
    handles = [look.handle(path) for path, look in of.items()]
    parts = {name.partition("_")[0] for name in info.names}
    handles += [
        Line2D([], [], color=INK, ls="-" if part == "train" else (0, (5, 2)), label=part)
        for part in ("train", "test")
        if part in parts
    ]
    for handle in handles[: len(of)]:
        handle.set_linestyle("-")
    figure.legend(handles=handles, loc="outside right center")
    return figure

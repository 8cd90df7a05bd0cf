"""The walk from update to update (Xing et al., 2018): the loss between iterates, angles, distances."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.canvas import GREY, new_figure
from analysis.notation import listed, significant
from analysis.plots.choice import EVERYTHING, Choice, Mean, Missing, mean_of, said_n
from analysis.plots.history import recorded, shown_arms
from analysis.plots.paper import batch_axis, looks
from analysis.plots.walk_tables import epochs_walked
from analysis.run import Run
from analysis.svg import spots
from analysis.tips import mean_tips

WALK, COSINE = "walk", "cosine"
MOST_EPOCHS = 4
MOST_UPDATES = 100
"""Updates of an epoch that a panel shows, as the paper's figures do."""
WATCH_IT = "write Space(walk=Walk(epochs=(1, 10, 25))) and train again"


class Steps(NamedTuple):
    """One member's walk: columns of panels are (arm, epoch). path: panel, place (in updates), loss, is_iterate.

    floor: panel, place, loss.

    updates: panel, update, cosine, distance.
    """

    title: str
    panels: list[tuple[str, int]]
    path: pd.DataFrame
    floor: pd.DataFrame
    updates: pd.DataFrame
    note: str


def walked(run: Run, choice: Choice, figure: str, name: str) -> pd.DataFrame:
    """The walk's rows of the arms asked for. Raises Missing where the name was not observed update by update."""
    found = epochs_walked(recorded(run, choice, figure, most=100))
    if not (found["name"] == name).any():
        why = "with points=10 " if name == "walk.loss_1" and (found["name"] == "walk.step_length").any() else ""
        raise Missing(
            f"figure {figure}: run {run.asked.name} has no {name}: nothing was observed between updates; {why}{WATCH_IT}"
        )
    return found


def walk(run: Run, choice: Choice = EVERYTHING) -> Steps:
    """Loss at and between iterates with the valley's floor, cosine of successive gradients, distance from the start, by update.

    Of one confirmed member, the first of the baseline (else of the first arm), in four of the watched epochs, first and last among
    them; of several arms (--arms) a panel for each arm and its first watched epoch. At most the first 100 updates of an epoch.
    """
    found = walked(run, choice, WALK, "walk.loss_1")
    inside = found[found["name"] == "walk.loss_1"]
    arms = shown_arms(run, inside["arm"], choice, 1 if not choice.arms else MOST_EPOCHS)
    panels: list[tuple[str, int]] = []
    for arm in arms:
        epochs = sorted(inside.loc[inside["arm"] == arm, "of_epoch"].unique())
        spread = np.unique(np.linspace(0, len(epochs) - 1, MOST_EPOCHS).round().astype(int)) if len(arms) == 1 else [0]
        panels += [(arm, int(epochs[place])) for place in spread]
    paths, floors, updates = [], [], []
    members = []
    for number, (arm, epoch) in enumerate(panels):
        own = found[(found["arm"] == arm) & (found["of_epoch"] == epoch)]
        trial, seed = inside.loc[inside["arm"] == arm, ["trial_id", "seed"]].sort_values(["trial_id", "seed"]).iloc[0]
        members.append(int(seed))
        own = own[(own["trial_id"] == trial) & (own["seed"] == seed)]
        wide = own.drop_duplicates(["step", "name"]).pivot(index="step", columns="name", values="value")
        steps = wide.index[wide["walk.loss_1"].notna()] if "walk.loss_1" in wide else wide.index[:0]
        steps = steps[:MOST_UPDATES]
        # the loss before the epoch's first update stands at the end of the update before it
        before = found[
            (found["trial_id"] == trial)
            & (found["seed"] == seed)
            & (found["name"] == "walk.loss")
            & (found["step"] == steps[0] - 1)
        ]
        if len(before):
            paths.append({"panel": number, "place": 0.0, "loss": float(before["value"].iloc[0]), "is_iterate": True})
        count = len([name for name in wide.columns if str(name).startswith("walk.loss_")])
        for place, step in enumerate(steps):
            row = wide.loc[step]
            for i in range(1, count + 1):
                paths.append(
                    {
                        "panel": number,
                        "place": place + i / (count + 1),
                        "loss": row[f"walk.loss_{i}"],
                        "is_iterate": False,
                    }
                )
            paths.append({"panel": number, "place": place + 1.0, "loss": row["walk.loss"], "is_iterate": True})
            if "walk.floor" in row and np.isfinite(row["walk.floor"]):
                low = min(range(1, count + 1), key=lambda i: row[f"walk.loss_{i}"])
                floors.append({"panel": number, "place": place + low / (count + 1), "loss": row["walk.floor"]})
            updates.append(
                {
                    "panel": number,
                    "update": place + 1,
                    "cosine": row.get("walk.cosine", np.nan),
                    "distance": row.get("walk.distance", np.nan),
                }
            )
    one = arms[0] if len(arms) == 1 else None
    title = f"The walk of {one}, update by update" if one else f"The walk of {listed(arms)}, update by update"
    note = (
        f"One confirmed member (seed {members[0]}). Upper: train loss at the iterates (dots) and between (line), and the floor "
        "of the valley where there is one (triangles). Middle: cosine of successive batch gradients. "
        "Lower: distance from the start."
    )
    if len(
        inside[inside["arm"].isin(arms)]
        .groupby(["trial_id", "seed", "of_epoch"])
        .size()
        .loc[lambda n: n > MOST_UPDATES]
    ):
        note += f" The first {MOST_UPDATES} updates of each epoch."
    columns = ["panel", "place", "loss"]
    return Steps(title, panels, pd.DataFrame(paths), pd.DataFrame(floors, columns=columns), pd.DataFrame(updates), note)


def draw_walk(info: Steps) -> Figure:
    """Three rows (loss, cosine, distance), a column for each epoch or arm."""
    figure = new_figure(3.3 * len(info.panels) + 1.4, 7.0, info.title, info.note)
    grid: Any = figure.subplots(3, len(info.panels), sharex="col", squeeze=False)
    several = len({arm for arm, _ in info.panels}) > 1
    for number, (arm, epoch) in enumerate(info.panels):
        top, middle, low = grid[:, number]
        path = info.path[info.path["panel"] == number]
        top.plot(path["place"], path["loss"], color="#0072B2", lw=1.2)
        dots = path[path["is_iterate"]]
        top.plot(dots["place"], dots["loss"], "o", color="#0072B2", ms=3.2)
        floor = info.floor[info.floor["panel"] == number]
        top.plot(floor["place"], floor["loss"], "v", color="#D55E00", ms=3.5)
        top.set_title(f"{arm}, epoch {epoch}" if several else f"epoch {epoch}")
        own = info.updates[info.updates["panel"] == number]
        middle.axhline(0, color=GREY, lw=0.8)
        middle.plot(own["update"], own["cosine"], color="#009E73", lw=1.2, marker="s", ms=2.6)
        _tips((top, middle, low), dots, own)
        middle.set_ylim(-1.05, 1.05)
        low.plot(own["update"], own["distance"], color="#882255", lw=1.5, marker="D", ms=2.6)
        low.set_xlabel("update of the epoch")
        low.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        if number:
            middle.tick_params(axis="y", labelleft=False)
    for row, label in enumerate(("train loss, nats", "cosine of\nsuccessive gradients", "distance from the start")):
        grid[row, 0].set_ylabel(label)
    return figure


def _tips(axes: tuple[Axes, Axes, Axes], iterates: pd.DataFrame, updates: pd.DataFrame) -> None:
    top, middle, low = axes
    said = [
        f"after update {p:.0f}\nloss {significant(v, 4)}"
        for p, v in zip(iterates["place"], iterates["loss"], strict=True)
    ]
    spots(top, iterates["place"], iterates["loss"], said, "#0072B2")
    for place, name, colour in ((middle, "cosine", "#009E73"), (low, "distance", "#882255")):
        there = updates.dropna(subset=[name])
        said = [f"update {k}\n{name} {significant(v, 3)}" for k, v in zip(there["update"], there[name], strict=True)]
        spots(place, there["update"], there[name], said, colour)


class Cosines(NamedTuple):
    """points: by (what the axis is: batch_size or lr), series, x, mean, low, high, n: mean cosine of an epoch."""

    title: str
    axes: tuple[str, ...]
    points: pd.DataFrame
    note: str


def cosines(run: Run, choice: Choice = EVERYTHING) -> Cosines:
    """Mean cosine of successive gradients in each watched epoch, against B at one rate and against the rate at one B.

    Means over the epoch's updates of each member, then over members with Student's interval over blocks.
    """
    found = walked(run, choice, COSINE, "walk.cosine")
    found = found[found["name"] == "walk.cosine"]
    keys = ["arm", "trial_id", "seed", "of_epoch"]
    means = found.groupby(keys, as_index=False).agg(
        value=("value", "mean"), batch_size=("batch_size", "first"), lr=("lr", "first")
    )
    points = []
    shown = []
    for axis, fixed in (("batch_size", "lr"), ("lr", "batch_size")):
        counts = means.groupby(fixed)[axis].nunique()
        if counts.max() < 2:
            continue
        shown.append(axis)
        at = counts.idxmax()
        own = means[means[fixed] == at]
        for (epoch, x), rows in own.astype({axis: "float64"}).groupby(["of_epoch", axis]):
            mean: Mean = mean_of(rows["value"], rows["seed"])
            points.append({"by": axis, "fixed": float(str(at)), "series": f"epoch {epoch}", "x": x, **mean._asdict()})
    if not points:
        raise Missing(
            f"figure {COSINE}: the arms of run {run.asked.name} have one batch size and one rate: give arms of several of either"
        )
    table = pd.DataFrame(points)
    note = f"Means over an epoch's updates, then over members, {said_n(table['n'].tolist())}. Bars: 95 % intervals over blocks."
    return Cosines("Cosine of successive gradients by batch size and by learning rate", tuple(shown), table, note)


def draw_cosines(info: Cosines) -> Figure:
    """A panel against the batch size, one against the rate."""
    figure = new_figure(4.6 * len(info.axes) + 1.8, 4.6, info.title, info.note)
    grid: Any = figure.subplots(1, len(info.axes), sharey=True, squeeze=False)
    of = looks(dict.fromkeys(info.points["series"]))
    for axes, axis in zip(grid[0], info.axes, strict=True):
        own = info.points[info.points["by"] == axis]
        for name, rows in own.groupby("series", sort=False):
            rows = rows.sort_values("x")
            bars = np.array([(rows["mean"] - rows["low"]).fillna(0.0), (rows["high"] - rows["mean"]).fillna(0.0)])
            axes.errorbar(rows["x"], rows["mean"], yerr=bars, elinewidth=1.1, capsize=2.5, **of[str(name)].line)
            places = rows["x"].map("B = {:,.0f}".format if axis == "batch_size" else "rate {:g}".format)
            said = mean_tips(rows.assign(x=places), "cosine", str(name))
            spots(axes, rows["x"], rows["mean"], said, of[str(name)].colour)
        axes.axhline(0, color=GREY, lw=0.8, zorder=0)
        fixed = own["fixed"].iloc[0]
        if axis == "batch_size":
            batch_axis(axes, own["x"].tolist())
            axes.set_title(f"learning rate {fixed:g}")
        else:
            _rate_axis(axes, own["x"].tolist())
            axes.set_title(f"batch size {fixed:,.0f}")
    grid[0, 0].set_ylabel("cosine of successive gradients")
    figure.legend(handles=[look.handle(name) for name, look in of.items()], loc="outside right center")
    return figure


def _rate_axis(axes: Axes, rates: list[float]) -> None:
    axes.set_xscale("log")
    shown = sorted(set(rates))
    axes.set_xticks(shown, [f"{rate:g}" for rate in shown])
    axes.minorticks_off()
    axes.set_xlabel("learning rate (log scale)")

"""Sharpness against the loss while members train (Keskar et al., 2017, figure 6)."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis.canvas import Inks, log_scale, new_figure
from analysis.plots.choice import EVERYTHING, Choice, Missing, quantity, said_n
from analysis.plots.history import history_quantities, left_out, recorded, title_case
from analysis.plots.paper import LABEL_WIDTH
from analysis.run import Run
from analysis.svg import spots
from analysis.tips import said_of

NAME = "trajectory"


class Trajectory(NamedTuple):
    """Sharpness against loss at the same looks. lines: arm, trial_id, seed, step, x, y. labels of both axes."""

    title: str
    lines: pd.DataFrame
    x_label: str
    y_label: str
    note: str


def trajectory(run: Run, choice: Choice = EVERYTHING) -> Trajectory:
    """Sharpness against the train loss along each member's training (Keskar et al., 2017, figure 6).

    From the sharpness that was watched and the train loss at the same step; without a watch from the crossings, where
    lambda_max was taken when the train loss first fell below 0.3, 0.1, ... nats. --y: the sharpness, --x: the loss.
    """
    found = recorded(run, choice, NAME)
    known = list(dict.fromkeys(found["name"]))
    losses = [name for name in ("train_loss", "running_train_loss") if name in known]
    sharp = [
        n for n in known if n in run.sharpness_values or (n.endswith(("lambda_max", "spectral_norm")) and "@" not in n)
    ]
    crossed = [name for name in known if name.startswith("lambda_max@")]
    keys = ["arm", "trial_id", "seed", "step"]
    if not choice.y and not sharp and crossed:
        rows = found[found["name"].isin(crossed)]
        lines = (
            rows[[*keys, "value"]]
            .assign(x=rows["name"].str.partition("@")[2].astype("float64"))
            .rename(columns={"value": "y"})
        )
        y_name, x_name = "lambda_max", "train_loss"
        note = (
            "Each line: a confirmed member, when its train loss first fell below each level; the marker: the last one."
        )
    else:
        if not choice.y and not sharp:
            raise Missing(
                f"figure {NAME}: no sharpness was watched in run {run.asked.name}: "
                'write Space(watch=Watch(metrics=("lambda_max",))) and train again'
            )
        y_name = (choice.y or (sharp[0],))[0]
        x_name = choice.x or (losses or ["train_loss"])[0]
        history_quantities(run, found, (y_name, x_name), NAME)
        wide = [found.loc[found["name"] == name, [*keys, "value"]].drop_duplicates(keys) for name in (x_name, y_name)]
        lines = wide[0].merge(wide[1], on=keys, suffixes=("_x", "_y")).rename(columns={"value_x": "x", "value_y": "y"})
        note = "Each line: a confirmed member, from the first look (the end without a marker) to the last (the marker)."
    x, y = (quantity(run, name, {x_name, y_name}, f"figure {NAME}") for name in (x_name, y_name))
    lines = lines.assign(x=x.of(lines["x"]), y=y.of(lines["y"])).dropna(subset=["x", "y"]).sort_values([*keys])
    lines = lines[(lines["x"] > 0) & (lines["y"] > 0)].reset_index(drop=True)
    if lines.empty:
        raise Missing(
            f"figure {NAME}: {y_name} and {x_name} of run {run.asked.name} were never recorded at the same step"
        )
    counts = lines.groupby("arm")["seed"].nunique().tolist()
    note += f" {said_n(counts, 'an arm')}.{left_out(run, lines)}"
    return Trajectory(title_case(f"{y.label} along the training"), lines, x.label, y.label, note)


def draw_trajectory(info: Trajectory, inks: Inks) -> Figure:
    """Lines from the start of training to its end, both axes logarithmic; the loss falls from left to right."""
    figure = new_figure(8.4, 5.0, info.title, info.note)
    axes = figure.add_subplot()
    arms = inks.ordered(info.lines["arm"])
    for arm in arms:
        for (_, seed), rows in info.lines[info.lines["arm"] == arm].groupby(["trial_id", "seed"]):
            axes.plot(rows["x"], rows["y"], color=inks.colour[arm], lw=1.3, alpha=0.75)
            said = [
                f"{arm}\nseed {seed}, update {step}\n{said_of(info.x_label, x)}\n{said_of(info.y_label, y)}"
                for step, x, y in zip(rows["step"], rows["x"], rows["y"], strict=True)
            ]
            spots(axes, rows["x"], rows["y"], said, inks.colour[arm])
            axes.plot(rows["x"].iloc[-1:], rows["y"].iloc[-1:], inks.marker[arm], color=inks.colour[arm], ms=6)
    log_scale(axes, "x")
    log_scale(axes, "y")
    axes.invert_xaxis()
    axes.set_xlabel(f"{info.x_label} (log scale, training goes to the right)")
    axes.set_ylabel(textwrap.fill(f"{info.y_label} (log scale)", LABEL_WIDTH))
    axes.legend(handles=[inks.handle(arm, arm) for arm in arms], loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure

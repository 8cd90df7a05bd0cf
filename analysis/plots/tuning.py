"""Tuning curves with simultaneous bands, and how much each searched dimension matters."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis.arrays import FloatArray
from analysis.canvas import FADED, GREY, INK, Inks, log_scale, new_figure
from analysis.decisions import search_scores
from analysis.importance import NOISE, importances
from analysis.notation import significant
from analysis.plots.choice import EVERYTHING, Choice, Missing, chosen, said_n
from analysis.plots.history import shown_arms
from analysis.run import Run
from analysis.svg import spots

NAME, IMPORTANCE = "tuning_curves", "importance"
MOST_ARMS = 12
CONFIDENCE = 0.95


class Tuning(NamedTuple):
    """lines: arm, k, median (of the best of k), low, high (nan without opda). label: of the value. log: whether on a log axis."""

    title: str
    lines: pd.DataFrame
    reference: str | None
    label: str
    log: bool
    note: str


def tuning_curves(run: Run, choice: Choice = EVERYTHING) -> Tuning:
    """Median validation loss of the best of k points by arm, with 95 % bands that hold for all k at once (opda; Lourie
    et al., 2024; the bands of Kolmogorov and Smirnov, exact for continuous values).

    The bands are of the distribution of a random point's value, in one block: they do not count that another block would rank the
    points otherwise. Points must be exchangeable. Without opda there are curves and no bands, and the note says so.
    """
    if run.asked.looks:
        raise Missing(
            f"figure {NAME}: run {run.asked.name} stopped the worse configurations early: no curve of the best of k"
        )
    if not run.asked.exchangeable:
        raise Missing(
            f"figure {NAME}: the points of run {run.asked.name} are not exchangeable ({run.asked.sampler} learns): no curve"
        )
    scores = chosen(run, search_scores(run.members, run.asked), choice)
    scores = scores[np.isfinite(scores["value"])]
    counts = scores.groupby("arm").size()
    arms = shown_arms(run, [str(arm) for arm in counts.index[counts > 1]], choice, MOST_ARMS)
    if not arms:
        raise Missing(f"figure {NAME}: run {run.asked.name} searched nothing: give a field over(...) in the space")
    by_error = run.asked.select_by == "error"
    has_bands = _opda() is not None
    parts = []
    for arm in arms:
        values = np.sort(scores.loc[scores["arm"] == arm, "value"].to_numpy(np.float64)) * (100 if by_error else 1)
        parts.append(pd.DataFrame(median_of_best(values)).assign(arm=arm))
    lines = pd.concat(parts, ignore_index=True)
    note = "Line: median over random k of an arm's points of the lowest value among them, one member a point, in one block. "
    note += (
        f"Band: {CONFIDENCE:.0%} simultaneous over k (opda); one that reaches the foot goes on to 0. Grey: the reference."
        if has_bands
        else "Bands: pip install 'tune_lb[analysis]'. Grey: the reference."
    )
    there = int((counts > 1).sum())
    if len(arms) < there:
        note += f" {len(arms)} of {there} arms: --arms names others."
    reference = run.asked.reference if run.asked.reference in arms else None
    label = "validation error of the best, %" if by_error else "validation loss of the best, nats"
    log = bool((lines[["median"]].to_numpy() > 0).all() and lines["median"].max() / lines["median"].min() > 10)
    return Tuning("What the best of k points reaches, arm by arm", lines, reference, label, log, note)


def median_of_best(values: FloatArray) -> dict[str, FloatArray]:
    """k, median, low, high of the lowest of k draws from the distribution of ascending values; bands by opda, else nan.

    The bands of n values depend on their ranks alone, so they are computed once for each n.
    """
    n = len(values)
    k = np.arange(1, n + 1)
    low, middle, high = _ranks(n)
    padded = np.concatenate([[-math.inf], values, [math.inf]])
    found = {"k": k, "median": padded[middle]}
    # a rank of 0 is below the lowest value: for a loss or an error not below 0
    ends = {"low": np.maximum(padded[low], 0.0), "high": padded[high]} if low is not None else {}
    unknown = np.full(n, np.nan)
    return found | {
        "low": ends.get("low", unknown),
        "high": np.where(np.isinf(ends.get("high", unknown)), np.nan, ends.get("high", unknown)),
    }


@functools.cache
def _ranks(n: int) -> tuple[Any, Any, Any]:
    """Ranks (0: below all, n + 1: above all) of the median of the best of k: low, middle, high; None without opda."""
    k = np.arange(1, n + 1)
    kind = _opda()
    # the q-quantile of the lowest of k is the 1 - (1 - q)^(1/k) quantile of one; the empirical one takes the rank that covers it
    middle = np.ceil(n * (1 - 0.5 ** (1 / k)) - 1e-9).astype(int)
    if kind is None:
        return None, middle, None
    bands = kind.confidence_bands(
        np.arange(1.0, n + 1),
        CONFIDENCE,
        a=0.0,
        b=n + 1.0,
        generator=np.random.default_rng(0),
        # the tighter bands at the ends (ld_*) take seconds to compute
        method="ks",
        n_jobs=1,
    )
    # the lower band of the distribution function has the larger values
    ends = [band.quantile_tuning_curve(k, q=0.5, minimize=True).round().astype(int) for band in (bands[0], bands[2])]
    return np.minimum(*ends), middle, np.maximum(*ends)


def _opda() -> Any:
    try:
        from opda.nonparametric import EmpiricalDistribution
    except ImportError:
        return None
    return EmpiricalDistribution


def draw_tuning(info: Tuning, inks: Inks) -> Figure:
    """A panel an arm, the reference's curve and band in grey behind each."""
    arms = list(dict.fromkeys(info.lines["arm"]))
    columns = min(4, len(arms))
    down = -(-len(arms) // columns)
    figure = new_figure(3.2 * columns + 0.6, 1.3 + 2.6 * down, info.title, info.note)
    first: Axes | None = None
    for place, arm in enumerate(arms):
        axes: Axes = figure.add_subplot(down, columns, place + 1, sharex=first, sharey=first)
        first = first or axes
        if info.reference not in (None, arm):
            _curve(axes, info.lines[info.lines["arm"] == info.reference], FADED, "")
        own = info.lines[info.lines["arm"] == arm]
        _curve(axes, own, inks.colour[arm], inks.marker[arm])
        said = [
            f"{arm}\nbest of {k}\nmedian {significant(value, 3)}"
            for k, value in zip(own["k"], own["median"], strict=True)
        ]
        spots(axes, own["k"], own["median"], said, inks.colour[arm])
        axes.set_title(f"{arm} ({int(info.lines.loc[info.lines['arm'] == arm, 'k'].max())} points)", fontsize=10)
        last = place + columns >= len(arms)
        axes.tick_params(labelleft=place % columns == 0, labelbottom=last)
        axes.set_xlabel("points searched, k" if last else "")
    assert first is not None
    if info.log:
        log_scale(first, "y")
    lowest, highest = info.lines["median"].min(), info.lines["median"].max()
    first.set_ylim(lowest / 1.5 if info.log else max(0.0, lowest - 0.6 * (highest - lowest)), 1.15 * highest)
    first.set_xscale("log", base=2)
    first.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    figure.supylabel(info.label + (" (log scale)" if info.log else ""), fontsize=10.5, color=INK)
    return figure


def _curve(axes: Axes, rows: pd.DataFrame, colour: str, marker: str) -> None:
    top = rows["high"].fillna(np.inf).clip(upper=10 * rows["median"].max())
    if rows["low"].notna().any():
        axes.fill_between(rows["k"], rows["low"].clip(lower=1e-12), top, color=colour, alpha=0.18, lw=0)
    axes.plot(
        rows["k"], rows["median"], color=colour, lw=1.8, marker=marker or None, ms=4, markevery=max(1, len(rows) // 6)
    )


class Importance(NamedTuple):
    """table: arm, dimension, importance, noise, n."""

    title: str
    table: pd.DataFrame
    note: str


def importance(run: Run, choice: Choice = EVERYTHING) -> Importance:
    """Importance of each searched dimension for the validation loss, by arm, beside what a column of no meaning gets."""
    table = importances(chosen(run, run.members, choice), run.asked)
    if table.empty:
        raise Missing(
            f"figure {IMPORTANCE}: no arm of run {run.asked.name} searched two dimensions with 10 points or more"
        )
    points = said_n(table["n"].tolist(), "an arm").replace("member", "point")
    note = (
        "Share of the variance of the log validation loss in the search, mean decrease of impurity in a random forest (Optuna). "
        f"Line: what {NOISE} gets in the same fit; a bar below it says nothing. {points}."
    )
    if run.asked.looks:
        note += f" At the first look, after {100 * run.asked.looks[0]:.3g} % of the training, before any was stopped."
    return Importance("How much each searched dimension matters", table, note)


def draw_importance(info: Importance, inks: Inks) -> Figure:
    """Bars by arm and dimension, the largest on top."""
    table = info.table.reset_index(drop=True)
    figure = new_figure(8.4, 1.5 + 0.3 * (len(table) + table["arm"].nunique()), info.title, info.note)
    axes = figure.add_subplot()
    y, ticks, labels = 0.0, [], []
    for arm, rows in table.groupby("arm", sort=False):
        top = y
        for row in rows.to_dict("records"):
            axes.barh(y, row["importance"], color=inks.colour[str(arm)], alpha=0.75, height=0.75)
            said = f"{arm}: {row['dimension']}\nimportance {row['importance']:.2f} of 1\nn = {row['n']} points"
            spots(axes, [row["importance"]], [y], [said], inks.colour[str(arm)])
            ticks.append(y)
            labels.append(f"{arm}: {row['dimension']}")
            y -= 1
        noise = rows["noise"].iloc[0]
        axes.plot([noise, noise], [top + 0.5, y + 0.5], color=GREY, lw=1.5, ls=(0, (2, 1.5)))
        y -= 0.6
    axes.set_yticks(ticks, labels, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(y + 0.9, 0.7)
    axes.set_xlabel("importance, share of 1")
    return figure

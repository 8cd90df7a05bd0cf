"""How large a batch? Up to which nothing is lost, and what the next doubling costs, for arms over the batch size."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.notation import count, percent, points, significant
from analysis.plots.choice import blocks_of
from analysis.plots.series import series_of
from analysis.run import Run
from analysis.segmented_fit import SegmentedFit, segmented_fit
from analysis.time_to_target import ToTarget, noise_scales, to_target
from tune_lb.inference.effects import Effect, paired_t

MIN_SIZES = 3


class HowLarge(NamedTuple):
    """fit: of the test error, None below 4 batch sizes. steps: smaller, larger, and the effect of each step of B on the test error
    (difference, low, high: fractions). found: what it takes to reach a target error. noise: gradient noise scales that were
    measured.
    """

    series: str
    fit: SegmentedFit | None
    steps: pd.DataFrame
    found: ToTarget | None
    noise: pd.DataFrame


def main_series(run: Run) -> tuple[str, list[str]]:
    """The series with the most batch sizes, the one without a remedy before others: its name and its arms."""
    of_arm = series_of(run, run.confirmed)
    sizes = run.confirmed.groupby(run.confirmed["arm"].map(of_arm))["batch_size"].nunique()
    name = max(dict.fromkeys(of_arm.values()), key=lambda n: (sizes[n], n == "plain"))
    return name, [arm for arm, series in of_arm.items() if series == name]


def how_large(run: Run, target: float | None = None) -> HowLarge | None:
    """The answer for the main series of a run; None where it has fewer than 3 batch sizes."""
    if run.confirmed.empty:
        return None
    name, arms = main_series(run)
    rows = run.confirmed[run.confirmed["arm"].isin(arms)]
    if rows["batch_size"].nunique() < MIN_SIZES:
        return None
    blocks = blocks_of(rows)
    fit = segmented_fit(
        rows["batch_size"].to_numpy(np.float64), rows["test_error"].to_numpy(np.float64), blocks.to_numpy(np.float64)
    )
    return HowLarge(name, fit, _steps(rows, blocks), to_target(run, arms, target), noise_scales(run, arms))


def _steps(rows: pd.DataFrame, blocks: pd.Series) -> pd.DataFrame:
    table = rows.assign(block=blocks).pivot_table(
        index="block", columns="batch_size", values="test_error", aggfunc="mean"
    )
    sizes = sorted(table.columns)
    found = []
    for smaller, larger in itertools.pairwise(sizes):
        effect: Effect = paired_t((table[larger] - table[smaller]).dropna().to_numpy(np.float64))
        from_first: Effect = paired_t((table[larger] - table[sizes[0]]).dropna().to_numpy(np.float64))
        found.append(
            (
                smaller,
                larger,
                effect.estimate,
                effect.low,
                effect.high,
                from_first.estimate,
                from_first.low,
                from_first.high,
            )
        )
    names = ["smaller", "larger", "difference", "low", "high", "from_first", "from_first_low", "from_first_high"]
    return pd.DataFrame(found, columns=names)


def free_up_to(answer: HowLarge) -> float:
    """The largest batch size tried at which no loss is told: the fit's threshold and below, else by steps from the smallest one."""
    sizes = [answer.steps["smaller"].iloc[0], *answer.steps["larger"]]
    if answer.fit is not None and answer.fit.fits:
        worse = answer.fit.rises and answer.fit.slope > 0
        return float(
            max([s for s in sizes if s <= answer.fit.threshold * 1.02], default=sizes[0]) if worse else sizes[-1]
        )
    free = float(sizes[0])
    for row in answer.steps.to_dict("records"):
        if row["from_first_low"] > 0:
            break
        free = float(row["larger"])
    return free


def sentence(answer: HowLarge) -> str:
    """One sentence: up to which batch size nothing is lost, and what the next step costs."""
    free, sizes = free_up_to(answer), [answer.steps["smaller"].iloc[0], *answer.steps["larger"]]
    fit = answer.fit
    if free >= sizes[-1]:
        which = f"; the step from {count(sizes[-2])} to it takes"
        effort = _effort(answer, sizes[-2], sizes[-1]).replace(", and takes", which)
        return f"No loss of test error can be told up to B = {count(free)}, the largest tried{effort}."
    known = fit is not None and fit.fits and fit.rises
    begins = ""
    if fit is not None and known:
        low = f"below {count(sizes[0])}" if fit.low == 0 else count(fit.low)
        high = f"above {count(sizes[-2])}" if math.isinf(fit.high) else count(fit.high)
        begins = f" (the drop begins at B = {count(fit.threshold)}, 95 % interval {low} to {high})"
    step = answer.steps[answer.steps["smaller"] == free].iloc[0]
    cost = f"{points(step['difference'])} points of test error"
    if math.isfinite(step["low"]):
        cost += f" [{percent(step['low'])}, {percent(step['high'])}]"
    until = (
        f"Up to B = {count(free)} no loss of test error can be told{begins}"
        if free > sizes[0]
        else f"Test error is lost from the smallest batch on{begins}"
    )
    return f"{until}; the step from {count(free)} to {count(step['larger'])} costs {cost}{_effort(answer, free, step['larger'])}."


def _effort(answer: HowLarge, smaller: float, larger: float) -> str:
    if answer.found is None:
        return ""
    means = answer.found.means.set_index("batch_size")
    if smaller not in means.index or larger not in means.index:
        return ""
    updates = means["updates"].to_dict()
    times = float(updates[larger] / updates[smaller])
    if not math.isfinite(times):
        return ""
    at = f"{percent(answer.found.target, 1)} % {answer.found.error.replace('_', ' ')}"
    from_to = "" if smaller == larger else f" (perfect scaling: {significant(smaller / larger)})"
    return f", and takes {significant(times)} times the updates to {at}{from_to}"

"""How large a batch? Updates, examples and seconds to a target error against the batch size (Shallue et al., 2019)."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from analysis.arrays import FloatArray
from analysis.run import Run
from tune_lb.inference.effects import quantile

ERRORS = ("test_error", "validation_error", "train_error")
COSTS = ("updates", "examples", "seconds")
NOISE_SCALES = ("gradient_noise_scale.critical_batch_size", "gradient_noise_scale")
MIN_SIZES = 3


class SpeedUp(NamedTuple):
    """updates = least (1 + critical / B), fitted in logarithms; see `speed_up`. low, high: of critical, 95 %."""

    least: float
    critical: float
    low: float
    high: float


class ToTarget(NamedTuple):
    """What it takes to reach a target error.

    error: name of the error in the history. target: fraction. members: arm, batch_size, block, updates, examples, seconds (nan
    where it was not reached). means: batch_size, and of each cost the geometric mean with low and high (Student's over blocks, of
    logarithms), n, n_reached. fit: None below 3 batch sizes.
    """

    error: str
    target: float
    members: pd.DataFrame
    means: pd.DataFrame
    fit: SpeedUp | None


def error_watched(history: pd.DataFrame) -> str | None:
    """The error that is followed: of the test part where it was watched, else of the validation part, else of the train part."""
    known = set(history["name"].unique())
    return next((name for name in ERRORS if name in known), None)


def to_target(run: Run, arms: Collection[str], target: float | None = None) -> ToTarget | None:
    """Costs of reaching a target error, for the confirmed members of the arms; None where no error was recorded over training.

    A member reaches the target between the last look above it and the first at or below it, by linear interpolation between
    the two. target: fixed for all batch sizes, as in Shallue et al.; without one, the lowest error that every member with
    looks reaches.
    """
    rows = run.confirmed[run.confirmed["arm"].isin(arms)]
    wanted = run.history[run.history["trial_id"].isin(set(rows["trial_id"]))]
    name = error_watched(wanted)
    if name is None:
        return None
    block = rows["block"] if "block" in rows else rows["seed"]
    keys = rows.assign(block=block)[["trial_id", "seed", "arm", "batch_size", "block"]]
    keys = keys[(rows["status"] != "diverged").to_numpy()]
    looks = wanted[wanted["name"] == name].merge(keys, on=["trial_id", "seed"]).dropna(subset=["value"])
    if looks.empty:
        return None
    if target is None:
        target = float(looks.groupby(["trial_id", "seed"])["value"].min().max())
    size = run.asked.num_train or math.nan
    found = []
    for (_, _), own in looks.groupby(["trial_id", "seed"]):
        own = own.sort_values("step")
        at = first_at(own["value"].to_numpy(np.float64), target)
        costs = {
            "updates": _between(own["step"], at),
            "examples": size * _between(own["epoch"], at),
            "seconds": _between(own["wall_s"], at),
        }
        found.append({name: own[name].iloc[0] for name in ("arm", "batch_size", "block")} | costs)
    members = pd.DataFrame(found)
    means = pd.DataFrame([_means(float(str(b)), own) for b, own in members.groupby("batch_size")])
    reached = members[members["updates"] > 0]
    fit = speed_up(reached["batch_size"].to_numpy(np.float64), reached["updates"].to_numpy(np.float64))
    return ToTarget(name, target, members, means, fit)


def first_at(values: FloatArray, target: float) -> float:
    """Where along the looks the value first comes to the target; 1.5: half way from the second to the third.

    nan where it never does; 0 where the first look is there already.
    """
    below = np.flatnonzero(values <= target)
    if not below.size:
        return math.nan
    place = int(below[0])
    if place == 0:
        return 0.0
    before, after = float(values[place - 1]), float(values[place])
    return place - 1 + (before - target) / (before - after)


def _between(column: pd.Series, at: float) -> float:
    values = column.to_numpy(np.float64)
    return float(np.interp(at, np.arange(len(values)), values)) if math.isfinite(at) else math.nan


def _means(batch_size: float, own: pd.DataFrame) -> dict[str, float]:
    row: dict[str, float] = {"batch_size": batch_size, "n": len(own), "n_reached": int(own["updates"].notna().sum())}
    for cost in COSTS:
        logs = np.log(own.loc[own[cost] > 0].groupby("block")[cost].mean().to_numpy(np.float64))
        mean = float(logs.mean()) if logs.size else math.nan
        half = quantile(logs.size - 1) * logs.std(ddof=1) / math.sqrt(logs.size) if logs.size > 1 else math.nan
        row |= {cost: math.exp(mean), f"{cost}_low": math.exp(mean - half), f"{cost}_high": math.exp(mean + half)}
    return row


def speed_up(batch_size: FloatArray, updates: FloatArray) -> SpeedUp | None:
    """Fit updates = least (1 + critical / B) by least squares of logarithms; None below 3 batch sizes.

    least: updates of an endless batch. critical: the batch size at which twice as many are needed, half the way from perfect
    scaling (updates ~ 1 / B) to none. Source: McCandlish et al. (2018), eq. 2.11. Interval of critical: of its logarithm,
    Student's by the linearised fit.
    """
    if len(np.unique(batch_size)) < MIN_SIZES or len(batch_size) <= 2:
        return None
    logs = np.log(updates)

    def rest(parameters: FloatArray) -> FloatArray:
        model = np.logaddexp(parameters[0], parameters[0] + parameters[1] - np.log(batch_size))
        return np.asarray(model - logs, dtype=np.float64)

    found = least_squares(rest, np.array([logs.min(), float(np.log(np.median(batch_size)))]))
    freedom = len(logs) - 2
    variance = float(2 * found.cost / freedom)
    jacobian = np.asarray(found.jac, dtype=np.float64)
    spread = np.linalg.pinv(jacobian.T @ jacobian)[1, 1] * variance
    half = quantile(freedom) * math.sqrt(max(0.0, float(spread)))
    least, critical = (float(value) for value in found.x)
    # a fit that runs off says that the batch sizes lie on one side of it
    ends = [math.exp(min(critical + sign * half, 700.0)) if math.isfinite(half) else math.nan for sign in (-1, 1)]
    return SpeedUp(math.exp(least), math.exp(min(critical, 700.0)), *ends)


def noise_scales(run: Run, arms: Collection[str]) -> pd.DataFrame:
    """Gradient noise scale and critical batch size of the confirmed members, at the end and wherever they were watched.

    name, batch_size, epoch (nan: at the end), value (geometric mean over members), n. Source: McCandlish et al. (2018), eq.
    2.8, 2.9.
    """
    rows = run.confirmed[run.confirmed["arm"].isin(arms)]
    parts = []
    for name in NOISE_SCALES:
        if name in rows and (rows[name] > 0).any():
            own = rows[rows[name] > 0]
            parts.append(
                pd.DataFrame({"name": name, "batch_size": own["batch_size"], "epoch": np.nan, "value": own[name]})
            )
        seen = run.history[run.history["name"] == name]
        seen = seen.merge(rows[["trial_id", "seed", "batch_size"]], on=["trial_id", "seed"])
        parts.append(seen[seen["value"] > 0][["batch_size", "epoch", "value"]].assign(name=name))
    table = (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["name", "batch_size", "epoch", "value"])
    )
    table = table.assign(log=np.log(table["value"].astype("float64")), epoch=table["epoch"].astype("float64"))
    grouped = table.groupby(["name", "batch_size", "epoch"], as_index=False, dropna=False)["log"].agg(
        mean="mean", n="count"
    )
    shown = pd.DataFrame(grouped).assign(value=np.exp(grouped["mean"].astype("float64")))
    return pd.DataFrame(shown[["name", "batch_size", "epoch", "value", "n"]])


def performance_model(found: ToTarget) -> pd.DataFrame:
    """How much faster a larger batch must be to pay (Keskar et al., 2017, appendix C, whose text is damaged in the copy at hand).

    To the same target a batch B_l takes I_l updates, the smallest B_s takes I_s. On P processors the large one wins where
    I_l B_l / P < I_s B_s / (P f_s(P)), f_s the share of its processors that the small batch can use (the large one: all of
    them), so where f_s(P) < I_s B_s / (I_l B_l). batch_size, updates_ratio (I_l / I_s), examples_ratio (I_l B_l / (I_s B_s):
    how many times as many examples a second it must train to be as fast), largest_share (of f_s with which it pays; at most 1),
    measured (how many times as many examples a second it trained here), pays_here.
    """
    rows = found.means[found.means["updates"].notna()].sort_values("batch_size")
    if rows.empty:
        return pd.DataFrame()
    first = rows.iloc[0]
    examples = rows["examples"] / first["examples"]
    measured = (rows["examples"] / rows["seconds"]) / (first["examples"] / first["seconds"])
    return pd.DataFrame(
        {
            "batch_size": rows["batch_size"],
            "updates_ratio": rows["updates"] / first["updates"],
            "examples_ratio": examples,
            "largest_share": np.minimum(1.0, 1 / examples),
            "measured": measured,
            "pays_here": measured > examples,
        }
    ).reset_index(drop=True)

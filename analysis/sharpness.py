"""Sharpness beside generalization and training loss (rule C12): rank correlations, and arms at a common loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.intervals import FloatArray

THRESHOLDS = (0.01, 0.03, 0.1, 0.3)
MIN_POINTS = 4


class RankCorrelation(NamedTuple):
    """Spearman correlation of a sharpness value with the generalization gap; nan where it is not defined.

    with_gap, with_train_loss: plain. partial: with the gap, the ranks of log train loss held fixed. n: points.
    """

    with_gap: float
    with_train_loss: float
    partial: float
    n: int


def rank_correlation(sharpness: FloatArray, gap: FloatArray, train_loss: FloatArray) -> RankCorrelation:
    """Spearman's rho, and the partial one: (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)), z the train loss.

    Ranks do not change under a logarithm, so z is log train loss as well. Points with a missing value are left out.
    """
    table = pd.DataFrame({"sharpness": sharpness, "gap": gap, "train_loss": train_loss}).dropna()
    n = len(table)
    if n < MIN_POINTS or (table.nunique() < 2).any():
        return RankCorrelation(float("nan"), float("nan"), float("nan"), n)
    r = np.corrcoef(table.rank().to_numpy(), rowvar=False)
    with_gap, with_loss, gap_loss = float(r[0, 1]), float(r[0, 2]), float(r[1, 2])
    left = (1 - with_loss**2) * (1 - gap_loss**2)
    partial = (with_gap - with_loss * gap_loss) / left**0.5 if left > 1e-12 else float("nan")
    return RankCorrelation(with_gap, with_loss, partial, n)


def correlations(confirmed: pd.DataFrame, values: list[str]) -> pd.DataFrame:
    """One row per sharpness value and level: over members, and over means of arms within splits.

    Members of an arm resemble each other, so those of level "arms" are the points that count; no p-value is given.
    """
    columns = ["generalization_gap", "train_loss"]
    rows = []
    for name in values:
        means = confirmed.groupby(["arm", "split_seed"])[[name, *columns]].mean()
        for level, table in (("arms", means), ("members", confirmed)):
            found = rank_correlation(*(table[c].to_numpy(np.float64) for c in (name, *columns)))
            rows.append({"value": name, "level": level, **found._asdict()})
    return pd.DataFrame(rows, columns=["value", "level", *RankCorrelation._fields])


def at_common_loss(history: pd.DataFrame, arms: pd.Series, name: str = "lambda_max") -> pd.DataFrame:
    """Sharpness when training loss first crossed the smallest threshold that every arm's members crossed.

    history: tidy (trial_id, seed, step, name, value) with `name` and running_train_loss; arms: trial_id -> arm. Returns
    arm, threshold, value (mean over members), n; empty where history holds no such value.
    """
    columns = ["arm", "threshold", "value", "n"]
    wide = history[history["name"].isin((name, "running_train_loss"))]
    wide = wide.pivot_table(index=["trial_id", "seed", "step"], columns="name", values="value").reset_index()
    if name not in wide or "running_train_loss" not in wide:
        return pd.DataFrame(columns=columns)
    wide = wide.assign(arm=wide["trial_id"].map(arms)).dropna(subset=["arm", name, "running_train_loss"])
    for threshold in THRESHOLDS:
        crossed = wide[wide["running_train_loss"] <= threshold].sort_values("step")
        first = crossed.drop_duplicates(["trial_id", "seed"])
        if len(wide) and set(first["arm"]) == set(wide["arm"]):
            means = first.groupby("arm", as_index=False).agg(value=(name, "mean"), n=(name, "count"))
            return means.assign(threshold=threshold)[columns]
    return pd.DataFrame(columns=columns)

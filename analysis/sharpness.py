"""Sharpness beside generalization and training loss: rank correlations, and arms at a common loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray

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


def at_common_loss(history: pd.DataFrame, confirmed: pd.DataFrame, value: str = "lambda_max") -> pd.DataFrame:
    """Sharpness when train loss first fell below the smallest threshold that members of every arm fell below.

    history: tidy, with names such as lambda_max@0.03 (the value when train loss first fell below 0.03). Returns arm,
    threshold, value (mean over confirmed members), n (of num_members that got there); empty where history has no such name.
    """
    columns = ["arm", "threshold", "value", "n", "num_members"]
    prefix = f"{value}@"
    rows = history[history["name"].str.startswith(prefix)].dropna(subset=["value"])
    rows = rows.assign(threshold=rows["name"].str.slice(len(prefix)).astype(float))
    rows = rows.merge(confirmed[["trial_id", "seed", "arm"]], on=["trial_id", "seed"])
    for threshold, found in rows.groupby("threshold"):
        if set(found["arm"]) == set(confirmed["arm"]):
            means = found.groupby("arm", as_index=False).agg(value=("value", "mean"), n=("value", "count"))
            sizes = means["arm"].map(confirmed["arm"].value_counts())
            return means.assign(threshold=threshold, num_members=sizes)[columns]
    return pd.DataFrame(columns=columns)

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
    table = np.stack([sharpness, gap, train_loss])
    table = table[:, np.isfinite(table).all(axis=0)]
    n = table.shape[1]
    if n < MIN_POINTS:
        return RankCorrelation(float("nan"), float("nan"), float("nan"), n)
    with_gap, with_loss, partial = rank_correlations(table[None])[0]
    return RankCorrelation(float(with_gap), float(with_loss), float(partial), n)


def rank_correlations(tables: FloatArray) -> FloatArray:
    """The same for many tables of n points without missing values at once: (B, 3, n) -> (B, 3)."""
    # pandas, not scipy.stats, which takes longer to import than all tables of a report to make
    ranks = pd.DataFrame(tables.reshape(-1, tables.shape[2]).T).rank().to_numpy().T.reshape(tables.shape)
    ranks = ranks - ranks.mean(axis=2, keepdims=True)
    lengths = np.sqrt((ranks**2).sum(axis=2, keepdims=True))
    units = ranks / np.where(lengths > 0, lengths, np.nan)
    sharpness, gap, loss = units[:, 0], units[:, 1], units[:, 2]
    with_gap, with_loss, gap_loss = ((a * b).sum(axis=1) for a, b in ((sharpness, gap), (sharpness, loss), (gap, loss)))
    whole = np.isfinite(with_gap) & np.isfinite(with_loss) & np.isfinite(gap_loss)
    left = np.where(whole, (1 - with_loss**2) * (1 - gap_loss**2), np.nan)
    partial = (with_gap - with_loss * gap_loss) / np.sqrt(np.where(left > 1e-12, left, np.nan))
    found = np.stack([with_gap, with_loss, partial], axis=1)
    return np.asarray(np.where(whole[:, None], found, np.nan))


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

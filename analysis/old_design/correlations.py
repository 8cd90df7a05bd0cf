"""Rank correlations of sharpness with the gap and the train loss, over means of arms within splits and over members."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.sharpness import RankCorrelation, rank_correlation


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

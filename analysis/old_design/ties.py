"""What a search selected by, trial by trial, and the selections that were made between equal trials."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.asked import Asked

SEARCH_STAGES = ("search", "rescreen")
EQUAL_DIGITS = 12
"""Decimals to which mean values are equal, as in the search."""


def scores(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Columns value and tie of members: what is selected by (validation error, or loss), and the other, which decides ties.

    A diverged member without a loss has an infinite one. In runs that were made before ties were decided all ties are 0.
    """
    names = (
        ("validation_loss", "validation_error")
        if asked.select_by == "loss"
        else ("validation_error", "validation_loss")
    )
    known = [members[name] if name in members else pd.Series(np.nan, members.index) for name in names]
    diverged = members["status"] == "diverged"
    value, tie = (column.mask(diverged & column.isna(), np.inf) for column in known)
    return pd.DataFrame({"value": value, "tie": tie if asked.ties_decided else 0.0})


def trial_scores(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Mean value and tie of each trial (index trial_id) over its search and rescreen members."""
    before = members[members["stage"].isin(SEARCH_STAGES)]
    means = scores(before, asked).groupby(before["trial_id"]).mean()
    return means.assign(value=means["value"].round(EQUAL_DIGITS))


def tied_selections(members: pd.DataFrame, asked: Asked, selected: pd.DataFrame) -> pd.DataFrame:
    """One row for each arm and split whose selected trial was not alone at the lowest value.

    selected: see confirmed_trials. Columns arm, split_seed and number, of equal trials with the selected one among them. Equal
    are trials of the last stage before confirm.
    """
    found = []
    for arm, split_seed, chosen in selected[["arm", "split_seed", "trial_id"]].itertuples(index=False):
        own = members[(members["arm"] == arm) & (members["split_seed"] == split_seed)]
        before = own[own["stage"].isin(SEARCH_STAGES)]
        rescreened = before.loc[before["stage"] == "rescreen", "trial_id"].unique()
        means = trial_scores(before, asked)
        means = means[means.index.isin(rescreened)] if len(rescreened) else means
        if chosen not in means.index or not np.isfinite(means["value"][chosen]):
            continue
        equal = means[means["value"] == means["value"][chosen]]
        if len(equal) > 1 and means["value"].min() == means["value"][chosen]:
            found.append((arm, split_seed, len(equal)))
    return pd.DataFrame(found, columns=["arm", "split_seed", "number"])

"""Tables of the walk (Xing et al., 2018, tables 1 to 3) and of the distance travelled; needs no matplotlib."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.plots.choice import blocks_of, mean_of
from analysis.run import Run


def epochs_walked(history: pd.DataFrame) -> pd.DataFrame:
    """Rows of the walk within watched epochs, with `of_epoch`: the epoch that the update belongs to, counted from 1."""
    rows = history[history["name"].str.startswith("walk.")]
    of_epoch = np.ceil(rows["epoch"].to_numpy(np.float64) - 1e-9).astype(int)
    return rows.assign(of_epoch=np.maximum(of_epoch, 1))


def epochs_table(run: Run) -> pd.DataFrame:
    """Barriers and heights by arm and watched epoch.

    Columns: arm, epoch, barriers, barriers_low, barriers_high, height, height_variance, updates, n.
    barriers: in an epoch, mean and range over members. height: mean over the updates of all members, nats; height_variance: over
    the same, nats squared (the second number of the paper's tables 2 and 3). Empty where no walk took losses.
    """
    columns = ["arm", "epoch", "barriers", "barriers_low", "barriers_high", "height", "height_variance", "updates", "n"]
    if run.confirmed.empty or not (run.history["name"] == "walk.height").any():
        return pd.DataFrame(columns=columns)
    members = run.confirmed[["trial_id", "seed", "arm"]]
    found = epochs_walked(run.history.merge(members, on=["trial_id", "seed"]))
    rows = []
    for (arm, epoch), own in found.groupby(["arm", "of_epoch"], sort=False):
        height = own.loc[own["name"] == "walk.height", "value"]
        if height.empty:
            continue
        barriers = own.loc[own["name"] == "walk.is_barrier"].groupby(["trial_id", "seed"])["value"].sum()
        number = own.loc[own["name"] == "walk.height"].groupby(["trial_id", "seed"]).ngroups
        spread = float(height.var(ddof=1)) if len(height) > 1 else float("nan")
        told = (
            (float(barriers.mean()), float(barriers.min()), float(barriers.max()))
            if len(barriers)
            else (float("nan"),) * 3
        )
        rows.append((arm, int(str(epoch)), *told, float(height.mean()), spread, len(height) // number, number))
    table = pd.DataFrame(rows, columns=columns)
    order = {name: place for place, name in enumerate(run.asked.order(table["arm"].unique().tolist()))}
    return (
        table.assign(place=table["arm"].map(order))
        .sort_values(["place", "epoch"])
        .drop(columns="place")
        .reset_index(drop=True)
    )


def distances_table(run: Run) -> pd.DataFrame:
    """Distance from the start at the end by arm, and its ratio to the reference's: arm, distance, low, high, ratio, n.

    distance: mean over blocks of |w - w_0|, interval Student's over blocks. ratio: the arm's mean over the reference's (Keskar
    et al., 2017, report 3 to 10 for the small over the large batch). Empty where distance_from_start was not stored.
    """
    columns = ["arm", "distance", "low", "high", "ratio", "n"]
    if (
        run.confirmed.empty
        or "distance_from_start" not in run.confirmed
        or run.confirmed["distance_from_start"].isna().all()
    ):
        return pd.DataFrame(columns=columns)
    members = run.confirmed
    from_start = members["distance_from_start"].astype("float64")
    blocks = blocks_of(members)
    found = {
        arm: mean_of(from_start[members["arm"] == arm], blocks[members["arm"] == arm])
        for arm in run.asked.order(members["arm"].unique().tolist())
    }
    of = found.get(str(run.asked.reference))
    ratio = {arm: mean.mean / of.mean if of and of.mean else float("nan") for arm, mean in found.items()}
    rows = [(arm, mean.mean, mean.low, mean.high, ratio[arm], mean.n) for arm, mean in found.items() if mean.n]
    return pd.DataFrame(rows, columns=columns)

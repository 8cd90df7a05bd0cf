"""What a point of error costs in each arm, and which arms no other one beats in error, sharpness and cost at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray

PRICE_COLUMNS = [
    *("arm", "gain", "gain_low", "gain_high", "gradient_evaluations", "evaluations_ratio", "wall_s", "seconds_ratio"),
    *(
        "evaluations_per_point",
        "evaluations_low",
        "evaluations_high",
        "seconds_per_point",
        "seconds_low",
        "seconds_high",
    ),
]


def prices(arms: pd.DataFrame, reference: str | None) -> pd.DataFrame:
    """What each arm pays for what it gains on the reference, one row per arm with results; empty without a reference.

    gain: points of test error below the reference's, with the interval of the whole procedure (else of the recipe). ..._ratio: cost
    of one training over the reference's. ..._per_point: (cost - the reference's) / gain, per training, for an arm whose interval
    lies above 0; below 0 it saves as well. Its ends are those of the gain: a larger gain is a lower price of more cost. nan
    for arms that are not told from the reference: there is no gain to pay for.
    """
    there = arms[arms["n"] > 0].set_index("arm")
    if reference is None or reference not in there.index:
        return pd.DataFrame(columns=PRICE_COLUMNS)
    of = there.loc[reference]
    rows = []
    for name, arm in there.iterrows():
        low = arm["difference_low"] if math.isfinite(arm["difference_low"]) else arm["difference_recipe_low"]
        high = arm["difference_high"] if math.isfinite(arm["difference_high"]) else arm["difference_recipe_high"]
        gain, least, most = -100 * arm["difference"], -100 * high, -100 * low
        row: dict[str, object] = {"arm": name, "gain": gain, "gain_low": least, "gain_high": most}
        for cost, short in (("gradient_evaluations", "evaluations"), ("wall_s", "seconds")):
            more = float(arm[cost] - of[cost])
            known = name != reference and least > 0
            ends = sorted((more / least, more / most)) if known else [math.nan, math.nan]
            row |= {
                cost: float(arm[cost]),
                f"{short}_ratio": float(arm[cost] / of[cost]) if of[cost] else math.nan,
                f"{short}_per_point": more / gain if known else math.nan,
                f"{short}_low": ends[0],
                f"{short}_high": ends[1],
            }
        rows.append(row)
    return pd.DataFrame(rows)[PRICE_COLUMNS]


def on_front(table: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows of (n, k) no other row beats: none is as low in every column and lower in one. Rows with nan are not on it."""
    known = np.isfinite(table).all(axis=1)
    found = np.zeros(len(table), dtype=bool)
    for i in np.flatnonzero(known):
        others = table[known]
        beaten = (others <= table[i]).all(axis=1) & (others < table[i]).any(axis=1)
        found[i] = not beaten.any()
    return found


def pareto(arms: pd.DataFrame, quantities: Sequence[str]) -> pd.DataFrame:
    """The arms with results, their means of the quantities (lower is better), and whether they are on the front."""
    there = arms[arms["n"] > 0].reset_index(drop=True)
    table = there[["arm", "role", "n", *quantities]]
    return table.assign(on_front=on_front(table[list(quantities)].to_numpy(np.float64)))

"""Was the search large enough: curves of the best of k points, whether the last doubling still gained, edges of ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.asked import Asked, AskedArm
from analysis.best_of_k import best_of_k
from analysis.decisions import Decision, search_scores, unit_coordinate
from analysis.member_columns import trained


class Adequacy(NamedTuple):
    """How one arm's search went; nan or None where unknown.

    num_points: configurations tried, those that were stopped early among them. search_gain: by how much the last doubling of points
    lowers the expected validation loss of the best one, a share of it. search_noise: standard deviation of one member's log
    validation loss between blocks that all candidates share. search_converged: the gain is at most the noise. median_test_error,
    share_beating_reference: of the search's members; nan where some were stopped early. edges: dimensions in which the selected
    value is the lowest or the highest that was tried.
    """

    num_points: int
    search_gain: float
    search_noise: float
    search_converged: bool | None
    median_test_error: float
    share_beating_reference: float
    edges: str

    @classmethod
    def unsearched(cls) -> Adequacy:
        """Of an arm that searches nothing, or has not begun."""
        return cls(0, math.nan, math.nan, None, math.nan, math.nan, "")


def curves(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Expected validation loss (or error) of the best of k points: arm, k, value.

    Points are exchangeable but for those of a sampler that learns, which has no curve.
    """
    columns = ["arm", "k", "value"]
    if not asked.exchangeable:
        return pd.DataFrame(columns=columns)
    parts = [
        pd.DataFrame({"arm": str(arm), "k": range(1, len(rows) + 1), "value": best_of_k(values, values)})
        for arm, rows in search_scores(members, asked).groupby("arm", sort=False)
        if np.isfinite(values := _finite(rows["value"])).all()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def searches(
    members: pd.DataFrame,
    asked: Asked,
    decided: Mapping[str, Decision],
    selected: Mapping[str, str],
    reference_error: float,
) -> dict[str, Adequacy]:
    """Arm -> how its search went, of the arms that searched. reference_error: test error of the confirmed reference."""
    every = trained(members[members["stage"] == "search"])
    scores, of_arms = search_scores(members, asked), curves(members, asked)
    found = {}
    for name, decision in decided.items():
        own = scores[scores["arm"] == name]
        tried = every[every["arm"] == name]
        curve = of_arms.loc[of_arms["arm"] == name, "value"].to_numpy(np.float64)
        gain = float(1 - curve[-1] / curve[len(curve) // 2 - 1]) if len(curve) > 1 and curve[-1] > 0 else math.nan
        noise = decision.standing.loss_spread if decision.standing else math.nan
        known = math.isfinite(gain) and math.isfinite(noise)
        # those that were not stopped are the best ones: they say nothing of the points
        errors = own["test_error"].dropna() if not asked.looks else own["test_error"].iloc[:0]
        beats = errors < reference_error
        found[name] = Adequacy(
            num_points=int(tried["configuration_id"].nunique()),
            search_gain=gain,
            search_noise=noise,
            search_converged=bool(gain <= noise) if known else None,
            median_test_error=float(errors.median()),
            share_beating_reference=float(beats.mean()) if len(beats) and math.isfinite(reference_error) else math.nan,
            edges=", ".join(edges(tried, asked.arm(name), selected.get(name))),
        )
    return found


def edges(searched: pd.DataFrame, arm: AskedArm, configuration_id: str | None) -> list[str]:
    """Dimensions of numbers, three or more of them tried, in which the selected value is the lowest or the highest tried.

    Each as "name = value, the lowest tried". searched: the search members of the arm.
    """
    chosen = searched[searched["configuration_id"] == configuration_id]
    found = []
    for name, domain in (arm.dimensions or {}).items():
        if name not in searched or chosen.empty or not pd.api.types.is_numeric_dtype(searched[name]):
            continue
        tried = {unit_coordinate(value, domain) for value in searched[name].dropna()}
        own = unit_coordinate(chosen[name].iloc[0], domain)
        if "low" in domain and not domain["low"] <= chosen[name].iloc[0] <= domain["high"]:
            # the neutral value of a remedy, from an arm that is combined
            continue
        if len(tried) > 2 and own in (min(tried), max(tried)):
            values = searched[name].dropna()
            value = float(chosen[name].iloc[0])
            found.append(f"{name} = {value:.3g}, the {'lowest' if value == values.min() else 'highest'} tried")
    return found


def _finite(values: pd.Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Values with infinite ones (diverged, the chance of the loss not known) as the worst that is finite."""
    array = values.to_numpy(np.float64)
    there = np.isfinite(array)
    return np.where(there, array, array[there].max()) if there.any() else array

"""How well each sharpness value orders generalization: Kendall's tau overall, within arms, granulated, at equal train loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray

MIN_POINTS = 4
MIN_WITHIN = 3
COLUMNS = ["value", "n", "overall", "within_arm", "arms", "granulated", "axes", "partial"]


def rank_agreement(points: pd.DataFrame, values: Sequence[str], axes: Sequence[str]) -> pd.DataFrame:
    """Agreement of each sharpness value with the generalization gap over points, one row per value; nan where it is not defined.

    points: a row each, with arm, generalization_gap, train_loss, the values and the axes (what was varied).
    n: points with value, gap and loss. overall: Kendall's tau-b over all of them. within_arm: mean over arms with 3 points or
    more of tau within the arm (arms: their number). granulated: Psi of Jiang et al. (2020, "Fantastic generalization
    measures"), eq. 6 and 7: psi of an axis is the mean, over all settings of the other axes, of tau among the points that
    differ in that axis alone, and Psi the mean of psi over the axes that have such points (axes: their names). partial: tau
    with the ranks of the train loss held fixed, (t_xy - t_xz t_yz) / sqrt((1 - t_xz^2)(1 - t_yz^2)); Kendall's tau does not
    change under a logarithm.
    """
    rows = []
    for value in values:
        columns = ["arm", value, "generalization_gap", "train_loss", *(a for a in axes if a != value)]
        known = (
            points[columns]
            .replace([np.inf, -np.inf], np.nan)
            .dropna(subset=[value, "generalization_gap", "train_loss"])
        )
        x, y, z = (known[name].to_numpy(np.float64) for name in (value, "generalization_gap", "train_loss"))
        if len(known) < MIN_POINTS:
            continue
        within = [
            tau(own[value].to_numpy(np.float64), own["generalization_gap"].to_numpy(np.float64))
            for _, own in known.groupby("arm")
            if len(own) >= MIN_WITHIN
        ]
        within = [t for t in within if math.isfinite(t)]
        psi = {axis: granulated(known, value, axis, axes) for axis in axes}
        psi = {axis: t for axis, t in psi.items() if math.isfinite(t)}
        rows.append(
            {
                "value": value,
                "n": len(known),
                "overall": tau(x, y),
                "within_arm": float(np.mean(within)) if within else math.nan,
                "arms": len(within),
                "granulated": float(np.mean(list(psi.values()))) if psi else math.nan,
                "axes": ", ".join(psi),
                "partial": partial_tau(x, y, z),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def tau(x: FloatArray, y: FloatArray) -> float:
    """Kendall's tau-b; nan without two different values of each."""
    # scipy's takes a millisecond a call, and groups are many and small
    first, second = (np.sign(np.subtract.outer(values, values)) for values in (x, y))
    left = float(np.abs(first).sum() * np.abs(second).sum())
    return float((first * second).sum() / math.sqrt(left)) if left > 0 else math.nan


def partial_tau(x: FloatArray, y: FloatArray, z: FloatArray) -> float:
    """Kendall's partial tau of x and y, z held fixed; nan where z determines either."""
    xy, xz, yz = tau(x, y), tau(x, z), tau(y, z)
    left = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(left) if left > 1e-12 else math.nan


def granulated(points: pd.DataFrame, value: str, axis: str, axes: Sequence[str]) -> float:
    """psi of one axis: mean over the settings of the other axes of tau among points that differ in it alone; nan without any."""
    others = [name for name in axes if name != axis]
    groups = [own for _, own in points.groupby(others, dropna=False)] if others else [points]
    found = []
    for own in groups:
        means = own.groupby(axis)[[value, "generalization_gap"]].mean()
        if len(means) > 1:
            found.append(tau(means[value].to_numpy(np.float64), means["generalization_gap"].to_numpy(np.float64)))
    found = [t for t in found if math.isfinite(t)]
    return float(np.mean(found)) if found else math.nan

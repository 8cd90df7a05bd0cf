"""Which quasi-random point a trial is: arms that share points are matched by their shared dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.asked import Asked

DECIMALS = 6


def shared_dimensions(asked: Asked) -> tuple[str, ...]:
    """Dimensions that every searched arm with shared points has, in order of name."""
    arms = [set(arm.dimensions or ()) for arm in asked.arms if arm.searched and arm.shares_points]
    return tuple(sorted(set.intersection(*arms))) if arms else ()


def unit_coordinate(value: Any, dimension: Mapping[str, Any]) -> float:
    """Where a value lies between the bounds of its dimension, in [0, 1], on its own scale; of a list, the position."""
    values = dimension.get("values")
    if values is not None:
        # As text, for a value may have become another type in the table (20 -> 20.0).
        texts = [_text(listed) for listed in values]
        return float(texts.index(_text(value))) if _text(value) in texts else -1.0
    low, high = float(dimension["low"]), float(dimension["high"])
    if low == high:
        return 0.0
    if dimension.get("log"):
        value, low, high = math.log(value), math.log(low), math.log(high)
    return float((value - low) / (high - low))


def point_numbers(members: pd.DataFrame, asked: Asked) -> pd.Series:
    """The number of the point behind each trial, by trial_id: equal in all arms (and splits) that share it.

    The number is that of the rounded unit coordinates in the shared dimensions, so it does not depend on the batch
    size (lr and its bounds scale with it) nor on the order of the files. Points of the placebo, and of arms that share
    no dimension, are numbered on their own. Two trials of an arm at one point (discrete dimensions) count as different
    points.
    """
    trials = members.drop_duplicates("trial_id").sort_values("trial_id")
    dimensions = shared_dimensions(asked)
    keys = pd.Series(
        [_key(row, asked, dimensions) for row in trials.to_dict("records")], index=trials.index, dtype=object
    )
    repeats = trials.assign(key=keys).groupby(["arm", "split_seed", "key"]).cumcount()
    codes, _ = pd.factorize(pd.Series(list(zip(keys, repeats, strict=True)), dtype=object), sort=True)
    return pd.Series(codes.astype(np.int64), index=trials["trial_id"].to_numpy(), name="point")


def _key(row: Mapping[Any, Any], asked: Asked, dimensions: tuple[str, ...]) -> tuple[str, ...]:
    arm = asked.arm(row["arm"])
    alone = not (arm.searched and arm.shares_points and dimensions)
    names = tuple(sorted(arm.dimensions or ())) if alone else dimensions
    given = arm.dimensions or {}
    coordinates = tuple(
        f"{unit_coordinate(row[name], given[name]):.{DECIMALS}f}" if _known(row.get(name)) else "?" for name in names
    )
    return (arm.name if alone else "", *coordinates)


def _known(value: object) -> bool:
    return value is not None and value == value


def _text(value: object) -> str:
    return f"{float(value):.12g}" if isinstance(value, int | float) else str(value)

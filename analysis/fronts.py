"""The front of each arm's search in the objectives of the space: what no other configuration of the arm beats in all of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.asked import Asked
from analysis.document import Part, Text, table
from analysis.member_columns import usable
from analysis.notation import significant
from analysis.price import on_front
from analysis.results import Results
from analysis.tips import value_text

NOTE = (
    "Configurations of the search that no other one of their arm equals in every objective and beats in one, by their one member "
    "in the search block: exploratory, and lucky ones are among them. The sampler sought these objectives; what was confirmed was "
    "chosen as in every search, by validation loss and soft error."
)


def fronts(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The search members of every arm with its objectives, in columns named as these are, and on_front: never a diverged one.

    Rows in the order of the arms, then of the first objective. Empty where the space has no objectives.
    """
    if not asked.objectives:
        return pd.DataFrame(columns=["arm", "configuration_id", "on_front"])
    rows = usable(members[members["stage"] == "search"]).drop_duplicates(["arm", "configuration_id"])
    values = {}
    for objective in asked.objectives:
        name = objective.removeprefix("-")
        column = pd.to_numeric(rows[name], errors="coerce") if name in rows else pd.Series(np.nan, rows.index)
        column = column.mask(rows["status"] == "diverged")
        values[objective] = -column if objective.startswith("-") else column
    found = rows.assign(**values)
    place = {arm: i for i, arm in enumerate(asked.order(list(found["arm"].unique())))}
    flags = pd.Series(False, found.index)
    for _, own in found.groupby("arm"):
        flags[own.index] = on_front(own[list(asked.objectives)].to_numpy(np.float64))
    found = found.assign(on_front=flags, place=found["arm"].map(place))
    return found.sort_values(["place", asked.objectives[0]], kind="stable").drop(columns="place").reset_index(drop=True)


def front_tables(results: Results) -> list[Part]:
    """The front of every arm, a line for each configuration on it; the confirmed one is marked."""
    found = fronts(results.members, results.asked)
    rows = []
    for row in found[found["on_front"]].to_dict("records"):
        names = results.asked.arm(str(row["arm"])).dimensions or {}
        text = ", ".join(f"{name} {value_text(row[name])}" for name in names if row.get(name) == row.get(name))
        values = {
            objective.removeprefix("-"): significant(-row[objective] if objective.startswith("-") else row[objective])
            for objective in results.asked.objectives
        }
        confirmed = results.selected.get(str(row["arm"])) == row["configuration_id"]
        rows.append({"arm": str(row["arm"]), "configuration": text} | values | {"": "confirmed" if confirmed else ""})
    return [Text(NOTE), table("fronts", rows)] if rows else []

"""One row per configuration that was tried: what it was, how far it came, what it reached, what it cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.asked import Asked
from analysis.decisions import Decision, search_scores
from analysis.member_columns import (
    COST,
    Roles,
    agreed,
    metric_columns,
    metric_values,
    quality_columns,
    setting_columns,
    trained,
    usable,
)

STAGES = ("search", "decide", "confirm")
IDENTITY = ("arm", "configuration_id")


def configurations(
    members: pd.DataFrame,
    asked: Asked,
    decided: Mapping[str, Decision],
    selected: Mapping[str, str],
    roles: Roles,
) -> pd.DataFrame:
    """One row per (arm, configuration_id): candidates first as they stood, then the others as the search ranks them.

    Quality and metrics are over the confirm members of a confirmed configuration, else over those of search and decide: mean over
    members under the column's own name, standard deviation with _std; they are of different blocks, so configurations that came
    to different stages are not to be compared by them. Costs are means per member, and total_ sums over all stages.
    """
    results = usable(members)
    keys = list(IDENTITY)
    values = [*quality_columns(members, roles), *metric_values(members, roles)]
    fields = setting_columns(members, roles)
    protocol = [name for name in metric_columns(members, roles) if name not in values]
    costs = [name for name in COST if name in members]

    of_all = members.groupby(keys)
    table = of_all[fields].first() if fields else of_all[["stage"]].first().drop(columns="stage")
    table["trial_id"] = of_all["trial_id"].first()
    furthest = members["stage"].map(STAGES.index).groupby([members[key] for key in keys]).max()
    table["stage"] = furthest.map(dict(enumerate(STAGES)))
    table["is_selected"] = [selected.get(arm) == configuration for arm, configuration in table.index]
    for stage in STAGES:
        counts = results[results["stage"] == stage].groupby(keys).size()
        table[f"n_{stage}"] = counts.reindex(table.index, fill_value=0).astype("int64")

    confirmed = results.set_index(keys).index.isin(results[results["stage"] == "confirm"].set_index(keys).index)
    shown = results[(results["stage"] == "confirm") | ~confirmed]
    of_shown = shown.groupby(keys)
    table["n"] = of_shown.size().reindex(table.index, fill_value=0)
    diverged = shown[shown["status"] == "diverged"].groupby(keys).size()
    table["n_diverged"] = diverged.reindex(table.index, fill_value=0).astype("int64")
    table["n_failed"] = of_all.size() - trained(members).groupby(keys).size().reindex(table.index, fill_value=0)
    if asked.looks:
        stopped = members[members["status"] == "stopped"].groupby(keys)
        table["n_stopped"] = stopped.size().reindex(table.index, fill_value=0).astype("int64")
        table["stopped_at"] = stopped["stopped_at"].max().reindex(table.index)
    table = table.join(_standings(members, asked, decided).reindex(table.index))
    table = table.join(of_shown[values].mean()).join(of_shown[values].std(ddof=1).add_suffix("_std"))
    if protocol:
        table = table.join(pd.DataFrame({name: _agreed(shown, name, keys) for name in protocol}))
    table = table.join(of_all[costs].mean()).join(of_all[costs].sum().add_prefix("total_"))

    order = {name: position for position, name in enumerate(asked.order(list(members["arm"].unique())))}
    table = table.reset_index()
    table = table.assign(order=table["arm"].map(order)).sort_values(
        ["order", "candidate", "search_rank", "configuration_id"], na_position="last"
    )
    return table.drop(columns="order").reset_index(drop=True)


def _standings(members: pd.DataFrame, asked: Asked, decided: Mapping[str, Decision]) -> pd.DataFrame:
    """What selects: search_rank and search_validation_loss; candidate, decide_validation_loss and decide_soft_error."""
    scores = search_scores(members, asked).sort_values(["arm", "value", "tie"], kind="stable")
    scores = scores.drop_duplicates(["arm", "configuration_id"])
    ranks = scores.groupby("arm").cumcount() + 1
    table = scores.assign(search_rank=ranks).set_index(list(IDENTITY))[["search_rank", "validation_loss"]]
    table = table.rename(columns={"validation_loss": "search_validation_loss"})
    rows = [
        {
            "arm": arm,
            "configuration_id": configuration,
            "candidate": k + 1,
            "decide_validation_loss": decision.losses[k] if decision.standing else np.nan,
            "decide_soft_error": decision.soft_errors[k] if decision.standing else np.nan,
        }
        for arm, decision in decided.items()
        for k, configuration in enumerate(decision.candidates)
    ]
    columns = [*IDENTITY, "candidate", "decide_validation_loss", "decide_soft_error"]
    return table.join(pd.DataFrame(rows, columns=columns).set_index(list(IDENTITY)), how="outer")


def _agreed(shown: pd.DataFrame, name: str, keys: list[str]) -> pd.Series:
    """What `agreed` says for every configuration; it is called only for those whose members differ, which are few."""
    measured = shown.loc[shown[name].notna(), [*keys, name]].groupby(keys)[name]
    values: pd.Series = measured.first().astype(object)
    differ = measured.nunique() > 1
    for key in values.index[differ]:
        values[key] = agreed(measured.get_group(key))
    return values.infer_objects()

"""One row per configuration that was tried in a split: what it was, how far it came, what it reached, what it cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.asked import Asked
from analysis.member_columns import (
    COST,
    ERRORS,
    Roles,
    agreed,
    metric_columns,
    metric_values,
    quality_columns,
    setting_columns,
    usable,
)
from analysis.old_design.intervals import LEVEL
from analysis.old_design.selection import confirmed_trials
from analysis.old_design.ties import SEARCH_STAGES, trial_scores

STAGES = (*SEARCH_STAGES, "confirm")
IDENTITY = ("arm", "split_seed", "trial_id")


def configurations(members: pd.DataFrame, asked: Asked, roles: Roles) -> pd.DataFrame:
    """One row per (arm, split_seed, trial_id), best by validation first within an arm and split.

    Quality and metrics are over the confirm members of a confirmed trial (n of them), else over those of search and
    rescreen: mean under the column's own name, standard deviation (n - 1) with _std, Student t interval of the errors
    with _low and _high. selection_validation_error is over search and rescreen in any case. Costs are means per member,
    and total_ sums over all stages.
    """
    results = usable(members)
    values = [*quality_columns(members, roles), *metric_values(members, roles)]
    fields = setting_columns(members, roles)
    protocol = [name for name in metric_columns(members, roles) if name not in values]
    costs = [name for name in COST if name in members]
    selected = confirmed_trials(results, asked)["trial_id"]

    trials = members.groupby("trial_id")
    table = trials[["arm", "split_seed", *fields]].first()
    table["stage"] = members["stage"].map(STAGES.index).groupby(members["trial_id"]).max().map(dict(enumerate(STAGES)))
    table["is_selected"] = table.index.isin(selected)

    confirmed = results["trial_id"].isin(results.loc[results["stage"] == "confirm", "trial_id"])
    shown = results[(results["stage"] == "confirm") | ~confirmed]
    by_trial = shown.groupby("trial_id")
    table["n"] = by_trial.size().reindex(table.index, fill_value=0)
    for stage in STAGES:
        table[f"n_{stage}"] = _count(results, results["stage"] == stage, table)
    table["n_diverged"] = _count(shown, shown["status"] == "diverged", table)
    table["n_failed"] = trials.size() - _count(results, results["status"].notna(), table)
    before = results[results["stage"].isin(SEARCH_STAGES)]
    table["selection_validation_error"] = before.groupby("trial_id")["validation_error"].mean()
    statistics = pd.concat([by_trial[values].mean(), by_trial[values].std(ddof=1).add_suffix("_std")], axis=1)
    table = table.join(statistics).join(_error_intervals(shown))
    if protocol:
        table = table.join(pd.DataFrame({name: _agreed_by_trial(shown, name) for name in protocol}))
    table = table.join(trials[costs].mean()).join(trials[costs].sum().add_prefix("total_"))

    order = {name: position for position, name in enumerate(asked.order(list(table["arm"].unique())))}
    ranks = trial_scores(results, asked).reindex(table.index)
    table = table.assign(order=table["arm"].map(order), **ranks).reset_index()
    table = table.sort_values(["order", "split_seed", "value", "tie", "trial_id"]).drop(
        columns=["order", "value", "tie"]
    )
    return table[[*IDENTITY, *[name for name in table.columns if name not in IDENTITY]]].reset_index(drop=True)


def _count(rows: pd.DataFrame, condition: pd.Series, table: pd.DataFrame) -> pd.Series:
    counts: pd.Series = rows.loc[condition, "trial_id"].value_counts()
    return counts.reindex(table.index, fill_value=0).astype("int64")


def _agreed_by_trial(shown: pd.DataFrame, name: str) -> pd.Series:
    """What `agreed` says for every trial; it is called only for trials whose members differ, which are few."""
    measured = shown.loc[shown[name].notna(), ["trial_id", name]].groupby("trial_id")[name]
    values: pd.Series = measured.first().astype(object)
    differ = measured.nunique() > 1
    for trial_id in values.index[differ]:
        values[trial_id] = agreed(measured.get_group(trial_id))
    return values.infer_objects()


def _error_intervals(shown: pd.DataFrame) -> pd.DataFrame:
    """Student t interval of each error's mean over members: m +- t(0.975, n - 1) s / sqrt(n)."""
    grouped = shown.groupby("trial_id")[list(ERRORS)]
    counts = grouped.count()
    half = stdtrit(np.maximum(counts - 1, 1), (1 + LEVEL) / 2) * grouped.std(ddof=1) / np.sqrt(counts)
    return (grouped.mean() - half).add_suffix("_low").join((grouped.mean() + half).add_suffix("_high"))

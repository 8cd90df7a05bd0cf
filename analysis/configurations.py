"""One row per configuration that was tried: what it was, how far it came, what it reached, what it cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.asked import Asked
from analysis.intervals import LEVEL
from analysis.selection import confirmed_trials
from analysis.ties import SEARCH_STAGES, trial_scores
from tune_lb.results import columns

STAGES = (*SEARCH_STAGES, "confirm")
IDENTITY = ("arm", "split_seed", "trial_id")
CONFIGURATION = tuple(column.name for column in columns.CONFIGURATION)
ERRORS = ("validation_error", "test_error", "train_error")
QUALITY = (
    *ERRORS,
    *("test_error_running", "generalization_gap", "generalization_gap_loss"),
    *("train_loss", "validation_loss", "test_loss", "running_train_loss"),
)
COST = ("wall_s", "examples", "updates", "gradient_evaluations")
Roles = Mapping[str, str]
"""Role of each column of the members table, as its file states it (tune_lb.results.columns.Role)."""


def usable(members: pd.DataFrame) -> pd.DataFrame:
    """Members with a result: those that completed, and those that diverged (at chance)."""
    return members[members["status"].isin(("completed", "diverged"))]


def remedy_columns(members: pd.DataFrame, roles: Roles, remedies: Collection[str]) -> list[str]:
    """Columns that hold a field of one of the remedies, such as sam.rho."""
    return [name for name in setting_columns(members, roles) if "." in name and name.partition(".")[0] in remedies]


def setting_columns(members: pd.DataFrame, roles: Roles) -> list[str]:
    """Columns with what was chosen, those that every run has first."""
    found = [name for name in members.columns if roles.get(name) == "setting"]
    return sorted(found, key=lambda name: CONFIGURATION.index(name) if name in CONFIGURATION else len(CONFIGURATION))


def quality_columns(members: pd.DataFrame, roles: Roles) -> list[str]:
    """Columns with losses and errors: those of every run, and those of other weights, such as test_error@last."""
    others = [name for name in members.columns if "@" in name and roles.get(name) == "outcome"]
    return [*(name for name in QUALITY if name in members), *others]


def metric_columns(members: pd.DataFrame, roles: Roles) -> list[str]:
    """Columns that a metric wrote, values and protocol."""
    return [name for name in members.columns if roles.get(name) in ("metric", "protocol")]


def metric_values(members: pd.DataFrame, roles: Roles) -> list[str]:
    """Columns with a metric's values: numbers that are no part of the protocol."""
    return [
        name
        for name in members.columns
        if roles.get(name) == "metric"
        and pd.api.types.is_numeric_dtype(members[name])
        and not pd.api.types.is_bool_dtype(members[name])
    ]


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


def agreed(column: pd.Series) -> object:
    """What members agree on; of numbers that differ the mean, of flags whether all are true, of texts "mixed"."""
    known = column.dropna()
    if known.nunique() <= 1:
        return known.iloc[0] if len(known) else None
    if all(isinstance(value, bool | np.bool_) for value in known):
        return bool(known.all())
    return float(known.mean()) if pd.api.types.is_numeric_dtype(known) else "mixed"

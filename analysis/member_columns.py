"""What the columns of the members table are: settings, outcomes, metrics, costs; and what several members agree on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from tune_lb.results import columns

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


def trained(members: pd.DataFrame) -> pd.DataFrame:
    """Members with a result, and those of a search that was stopped early, which have none of their end."""
    return members[members["status"].isin(("completed", "diverged", "stopped"))]


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


def agreed(column: pd.Series) -> object:
    """What members agree on; of numbers that differ the mean, of flags whether all are true, of texts "mixed"."""
    known = column.dropna()
    if known.nunique() <= 1:
        return known.iloc[0] if len(known) else None
    if all(isinstance(value, bool | np.bool_) for value in known):
        return bool(known.all())
    return float(known.mean()) if pd.api.types.is_numeric_dtype(known) else "mixed"

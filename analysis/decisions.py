"""What the search and the decide stage say of each arm: how its candidates stand, and how sure the selection is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray, means_of_known
from analysis.asked import DERIVED_ROLES, Asked, AskedArm
from analysis.member_columns import trained, usable
from tune_lb.inference.decision import Standing, log_loss, residual_spread, standing
from tune_lb.inference.selection_variance import Searched, selection_variance, with_floor

CROSS_ENTROPY = "cross_entropy"


@dataclass(frozen=True)
class Decision:
    """How one arm's configuration was decided for.

    candidates: configuration_ids, best of the search first. standing: how they stand in the decide blocks; None without such a
    stage. losses, soft_errors: (K,) means over the decide blocks, exp of the mean log loss, as the decision sees them. searched:
    the members of both stages.
    """

    candidates: tuple[str, ...]
    standing: Standing | None
    losses: FloatArray
    soft_errors: FloatArray
    searched: Searched

    @property
    def variance(self) -> float:
        """V, the variance of the selection, see `selection_variance`; nan where nothing was decided between two candidates."""
        if self.standing is None or len(self.candidates) < 2:
            return math.nan
        return selection_variance(self.searched, self.standing)


def chance_loss(members: pd.DataFrame, asked: Asked) -> float | None:
    """Loss of a guess, log C for the cross entropy of C classes; None where it is not known."""
    of_kind = "loss" in members and members["loss"].dropna().astype(str).str.endswith(CROSS_ENTROPY).all()
    return math.log(asked.num_classes) if of_kind and asked.num_classes and asked.num_classes > 1 else None


def search_scores(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The search members of all arms with what they are ranked by: columns value (loss at most that of chance, or error), tie."""
    return _scored(usable(members[members["stage"] == "search"]), asked, "")


def scores_of_all(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The same of all configurations that were tried: at the first look, where some were stopped early; else search_scores."""
    if not asked.looks:
        return search_scores(members, asked)
    rows = trained(members[members["stage"] == "search"])
    known = _column(rows, "look1.validation_loss").notna() | (rows["status"] == "diverged")
    return _scored(rows[known], asked, "look1.")


def _scored(rows: pd.DataFrame, asked: Asked, look: str) -> pd.DataFrame:
    """Rows with value and tie; look: what the columns begin with that hold what is ranked by."""
    diverged = rows["status"] == "diverged"
    chance = chance_loss(rows, asked)
    loss = _column(rows, f"{look}validation_loss").mask(diverged, np.inf)
    loss = loss if chance is None else loss.clip(upper=chance)
    error = _column(rows, f"{look}validation_error")
    error = error.fillna(_column(rows, "validation_error")) if look else error
    value, tie = (error, loss) if asked.select_by == "error" else (loss, error)
    return rows.assign(value=value, tie=tie)


def decisions(members: pd.DataFrame, asked: Asked) -> dict[str, Decision]:
    """Arm -> how it was decided, of the arms that searched anything."""
    scores = search_scores(members, asked)
    decide = usable(members[members["stage"] == "decide"])
    found = {}
    for arm in asked.arms:
        own = scores[scores["arm"] == arm.name].sort_values(["value", "tie"], kind="stable")
        if arm.searched and arm.dimensions and len(own):
            found[arm.name] = _decision(own, decide[decide["arm"] == arm.name], arm, asked)
    return found


def selection_variances(decided: Mapping[str, Decision], asked: Asked) -> dict[str, float]:
    """V of every arm, with the floor that with_floor puts under those that searched.

    An arm that searches nothing has none. A copied or scaled one follows the baseline's selection, so it has the baseline's V. nan
    for all that searched where it is known of none of them (no decide stage, or one block).
    """
    names = list(decided)
    known = np.array([decided[name].variance for name in names])
    floored = with_floor(known) if np.isfinite(known).any() else np.full(len(names), np.nan)
    found = dict(zip(names, map(float, floored), strict=True))
    searched = {
        arm.name: found.get(arm.name, math.nan) if arm.dimensions else 0.0 for arm in asked.arms if arm.searched
    }
    of_baseline = searched.get(str(asked.baseline), math.nan)
    derived = {arm.name: of_baseline for arm in asked.arms if arm.role in DERIVED_ROLES}
    return {arm.name: {**searched, **derived}[arm.name] for arm in asked.arms}


def _decision(search: pd.DataFrame, decide: pd.DataFrame, arm: AskedArm, asked: Asked) -> Decision:
    order = list(dict.fromkeys(search["configuration_id"].map(str)))
    there = set(decide["configuration_id"].map(str))
    num_candidates = asked.design.candidates if asked.design else len(there)
    # an extended search may have decided between others before
    candidates = tuple(name for name in order[:num_candidates] if name in there)
    rows = decide[decide["configuration_id"].isin(candidates)]
    chance = chance_loss(search, asked)
    soft_column = (
        "validation_soft_error" if _column(rows, "validation_soft_error").notna().any() else "validation_error"
    )
    losses, errors = (_table(rows, column, candidates) for column in ("validation_loss", soft_column))
    how = None
    if candidates and losses.size:
        how = _standing(losses, errors, asked.select_by, chance)
    return Decision(
        candidates,
        how,
        np.array([]) if how is None else np.exp(_mean_logs(losses, chance)),
        np.array([]) if how is None else means_of_known(errors),
        _searched(search, rows, candidates, arm, chance, soft_column),
    )


def _standing(losses: FloatArray, errors: FloatArray, select_by: str, chance: float | None) -> Standing:
    """What is decided by: loss and soft error (auto), loss alone, or the mean error alone."""
    if select_by == "error":
        means = np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.inf for row in errors])
        whole = errors[np.isfinite(errors).all(axis=1)]
        return Standing(means, None, residual_spread(whole), math.nan, errors.shape[1])
    return standing(losses, None if select_by == "loss" else errors, chance)


def _mean_logs(losses: FloatArray, chance: float | None) -> FloatArray:
    return np.asarray(log_loss(losses, chance).mean(axis=1), dtype=np.float64)


def _table(rows: pd.DataFrame, column: str, candidates: tuple[str, ...]) -> FloatArray:
    """(K, R), nan where a member is missing or diverged."""
    known = rows.assign(value=_column(rows, column).mask(rows["status"] == "diverged"))
    wide = known.pivot_table(index="configuration_id", columns="block", values="value", dropna=False)
    return wide.reindex(list(candidates)).to_numpy(np.float64)


def _searched(
    search: pd.DataFrame,
    decide: pd.DataFrame,
    candidates: tuple[str, ...],
    arm: AskedArm,
    chance: float | None,
    soft_column: str,
) -> Searched:
    rows = pd.concat([search.assign(number=-1), decide.assign(number=decide["block"].astype(int))], ignore_index=True)
    soft = _column(rows, "validation_soft_error").fillna(_column(rows, "validation_error"))
    rows = rows.assign(soft=soft if soft_column == "validation_soft_error" else _column(rows, "validation_error"))
    left = (rows["status"] == "completed") & _column(rows, "validation_loss").notna() & rows["test_error"].notna()
    rows = rows[left & rows["soft"].notna()]
    place = {name: k for k, name in enumerate(candidates)}
    return Searched(
        points=unit_points(rows, arm),
        block=rows["number"].to_numpy(np.int64),
        candidate=np.array([place.get(str(name), -1) for name in rows["configuration_id"]], dtype=np.int64),
        log_loss=log_loss(rows["validation_loss"].to_numpy(np.float64), chance) if len(rows) else np.array([]),
        soft_error=rows["soft"].to_numpy(np.float64),
        test_error=rows["test_error"].to_numpy(np.float64),
    )


def unit_points(rows: pd.DataFrame, arm: AskedArm) -> FloatArray:
    """(N, d), the configurations in the unit cube of the arm's dimensions, each on its own scale."""
    columns = [
        [unit_coordinate(value, domain) for value in rows[name]] if name in rows else [0.5] * len(rows)
        for name, domain in (arm.dimensions or {}).items()
    ]
    return np.array(columns, dtype=np.float64).reshape(len(columns), len(rows)).T


def unit_coordinate(value: Any, domain: Mapping[str, Any]) -> float:
    """Where a value lies in its domain, in [0, 1], on a log scale where the domain is; of K choices, k / (K - 1).

    0.5 for a value that is missing, or in a domain of one value. What an arm has from the arms that it combines may lie outside of
    its range, as the neutral value of a remedy that one of them lacks: it counts as the nearer end.
    """
    choices = domain.get("values")
    if choices is not None:
        # as text, for a value may have become another type in the table (20 -> 20.0)
        texts = [_text(choice) for choice in choices]
        return texts.index(_text(value)) / (len(texts) - 1) if len(texts) > 1 and _text(value) in texts else 0.5
    low, high = float(domain["low"]), float(domain["high"])
    if low == high or value is None or not np.isfinite(value):
        return 0.5
    value = min(max(float(value), low), high)
    if domain.get("log"):
        value, low, high = math.log(value), math.log(low), math.log(high)
    return float((value - low) / (high - low))


def _text(value: object) -> str:
    return f"{float(value):.12g}" if isinstance(value, int | float | np.number) else str(value)


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    found: pd.Series = rows[name].astype(float) if name in rows else pd.Series(np.nan, rows.index)
    return found

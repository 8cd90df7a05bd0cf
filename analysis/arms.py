"""One row per arm: what it reached over the confirm blocks, and how it compares (docs/inference.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.adequacy import Adequacy
from analysis.asked import OUTSIDE_ROLES
from analysis.blocks import block_means, common_differences
from analysis.comparison import Comparison, placebos
from analysis.decomposition import under_trained
from analysis.drops import GapClosed, gap_closed
from analysis.member_columns import COST, Roles, agreed, metric_columns, metric_values, quality_columns
from tune_lb.inference.effects import NAN, Effect, paired_t
from tune_lb.inference.precision import blocks_needed, spread_of

HALF_A_POINT = 0.005
IN_POINTS = (
    *("test_error", "difference", "difference_recipe", "difference_new", "large_batch_drop", "large_batch_drop_recipe"),
    *("drop_train_error", "drop_generalization_gap", "matched_difference", "matched_difference_recipe"),
)
"""Columns with intervals, _low to _high, on the scale of the errors."""
WIDEST = 1.0
"""An interval of a share of examples that is wider says nothing: no difference of two shares is above 1."""


def arms_table(
    members: pd.DataFrame, compared: Comparison, searches: Mapping[str, Adequacy], roles: Roles, no_share: str
) -> pd.DataFrame:
    """One row per arm of the space, in its order; what is not known is null.

    Means are over blocks of means over seeds; _std is over members. difference: test error of the arm minus the reference's,
    paired by block; its interval is the procedure's, simultaneous over the family, and claim rests on it. difference_recipe: the
    same difference, of these recipes. All else is exploratory. no_share: why no share of the drop is given, "" where it is.
    """
    asked = compared.asked
    names = asked.order(sorted({arm.name for arm in asked.arms} | set(members["arm"].unique())))
    floor = max((abs(compared.on_these[n].recipes.estimate) for n in placebos(compared)), default=NAN)
    rows = []
    for name in names:
        row: dict[str, object] = _identity(name, members, compared)
        row |= _reached(name, compared, roles)
        row |= _difference(name, compared) | {"noise_floor": floor}
        row |= _drop(name, compared) | _closed(gap_closed(compared, name, no_share)) | _matched(name, compared)
        row |= searches[name]._asdict() if name in searches else Adequacy.unsearched()._asdict()
        rows.append(row | _cost(name, members, compared))
    table = pd.DataFrame(rows)
    flags = {
        name: pd.array(table[name].tolist(), dtype="boolean")
        for name in ("claim", "claim_new_data", "under_trained", "search_converged")
    }
    return table.assign(**flags)


def as_printed(arms: pd.DataFrame, *, is_share: bool) -> list[dict[str, Any]]:
    """The rows of the table with intervals that say nothing open on both sides, -inf to inf. is_share: of the errors."""
    rows: list[dict[str, Any]] = [{str(n): value for n, value in row.items()} for row in arms.to_dict("records")]
    for row in rows if is_share else ():
        for low, high in ((f"{name}_low", f"{name}_high") for name in IN_POINTS):
            if low in row and row[high] - row[low] > WIDEST:
                row |= {low: -math.inf, high: math.inf}
    return rows


def _identity(name: str, members: pd.DataFrame, compared: Comparison) -> dict[str, object]:
    arm, confirmed = compared.asked.arm(name), compared.confirmed
    own, found = confirmed[confirmed["arm"] == name], members[members["arm"] == name]
    lost = found[(found["stage"] == "confirm") & ~found["status"].isin(("completed", "diverged"))]
    return {
        "arm": name,
        "role": arm.role,
        "batch_size": arm.batch_size if arm.batch_size is not None else agreed(found["batch_size"]),
        "remedies": ",".join(arm.remedies),
        "num_blocks": own["block"].nunique(),
        "n": len(own),
        "n_diverged": int((own["status"] == "diverged").sum()),
        "n_failed": len(lost),
    }


def _reached(name: str, compared: Comparison, roles: Roles) -> dict[str, object]:
    confirmed = compared.confirmed
    own = confirmed[confirmed["arm"] == name]
    values = [*quality_columns(confirmed, roles), *metric_values(confirmed, roles)]
    means = own.groupby("block")[values].mean()
    row: dict[str, object] = {column: means[column].mean() for column in values}
    row |= {f"{column}_std": own[column].astype(float).std(ddof=1) for column in values}
    row |= {column: agreed(own[column]) for column in metric_columns(confirmed, roles) if column not in values}
    level = paired_t(block_means(compared.errors[name])) if name in compared.errors else None
    return row | {"test_error_low": level.low if level else NAN, "test_error_high": level.high if level else NAN}


def _difference(name: str, compared: Comparison) -> dict[str, object]:
    asked = compared.asked
    these, new = compared.on_these.get(name), compared.on_new.get(name)
    unknown = Effect(NAN, NAN, NAN, NAN, 0)
    recipes, procedure, on_new = (
        (these.recipes, these.procedure, new.procedure) if these and new else (unknown, unknown, unknown)
    )
    tested = asked.arm(name).role not in OUTSIDE_ROLES
    return {
        "difference": recipes.estimate,
        "difference_low": procedure.low,
        "difference_high": procedure.high,
        "difference_recipe_low": recipes.low,
        "difference_recipe_high": recipes.high,
        "difference_new_low": on_new.low,
        "difference_new_high": on_new.high,
        "paired_blocks": these.blocks if these else 0,
        "selection_std": math.sqrt(compared.variances.get(name, NAN)),
        "examples_std": math.sqrt(compared.test_sets.variance(name, asked.reference)) if these else NAN,
        "p_recipe": recipes.p,
        "p": procedure.p,
        "p_holm": these.p_holm if these else NAN,
        "claim": (these.claim if these else False) if tested else None,
        "claim_reason": _reason(name, compared),
        "claim_new_data": (new.claim if new else False) if tested else None,
        "blocks_for_half_a_point": _blocks_needed(name, compared) if tested and these else NAN,
        "disagreement": compared.test_sets.disagreeing.get(name, NAN),
    }


def _reason(name: str, compared: Comparison) -> str:
    asked = compared.asked
    if asked.arm(name).role in OUTSIDE_ROLES:
        return "a reference, not tested"
    found = compared.on_these.get(name)
    if found is None:
        return "not confirmed yet"
    if found.blocks < 2:
        return "one confirm block: an interval takes 2" if found.blocks else "no block in common with the reference"
    if found.reason == "not told from 0":
        return f"not told from the reference (Holm p = {found.p_holm:.2g})"
    return "its difference is not above the placebo's" if found.reason == "not above the placebo" else found.reason


def _blocks_needed(name: str, compared: Comparison) -> float:
    """Confirm blocks with which half a point would be claimed 4 times in 5; inf where no number does, nan where not known."""
    reference, asked = str(compared.asked.reference), compared.asked
    pairs = compared.errors[name] - compared.errors[reference]
    whole = pairs[np.isfinite(pairs).all(axis=1)]
    selection = compared.variance(name, reference) / 2
    # an arm that is the reference in every block tells nothing of the blocks that a remedy takes
    if len(whole) < 2 or not math.isfinite(selection) or not np.ptp(whole) > 0:
        return NAN
    seeds = asked.design.block_seeds if asked.design else whole.shape[1]
    needed = blocks_needed(spread_of(whole, selection), HALF_A_POINT, seeds, max(1, len(compared.family)))
    return math.inf if needed is None else float(needed)


def _drop(name: str, compared: Comparison) -> dict[str, object]:
    asked = compared.asked
    other = None if name == asked.baseline else asked.baseline
    drop, recipes = compared.between(name, other), compared.between(name, other, procedure=False)
    row: dict[str, object] = {
        "large_batch_drop": drop.estimate,
        "large_batch_drop_low": drop.low,
        "large_batch_drop_high": drop.high,
        "large_batch_drop_recipe_low": recipes.low,
        "large_batch_drop_recipe_high": recipes.high,
    }
    row |= dict.fromkeys(_PARTS, NAN) | {"under_trained": None}
    if other not in compared.errors or name not in compared.errors:
        return row
    train = compared.train_errors
    own, base = str(name), str(other)
    # a diverged member counts at chance in both errors, so it adds nothing to the gap here
    d_test, d_train = common_differences((compared.errors[own], compared.errors[base]), (train[own], train[base]))
    parts = (paired_t(d_train), paired_t(d_test - d_train))
    row |= dict(zip(_PARTS, (v for part in parts for v in (part.estimate, part.low, part.high)), strict=True))
    losses = compared.train_losses
    error = float(np.nanmean(train[own])) if asked.is_share else 0.0
    loss, of_baseline = (
        float(np.nanmean(losses[arm])) if np.isfinite(losses[arm]).any() else NAN for arm in (own, base)
    )
    return row | {"under_trained": under_trained(error, loss, of_baseline)}


_PARTS = tuple(f"drop_{part}{end}" for part in ("train_error", "generalization_gap") for end in ("", "_low", "_high"))


def _closed(closed: GapClosed) -> dict[str, object]:
    return {
        "gap_closed": closed.effect.estimate,
        "gap_closed_low": closed.effect.low,
        "gap_closed_high": closed.effect.high,
        "gap_closed_reason": closed.reason,
    }


def _matched(name: str, compared: Comparison) -> dict[str, object]:
    matched_by = compared.asked.arm(name).matched_by
    found, recipes = compared.between(name, matched_by), compared.between(name, matched_by, procedure=False)
    return {
        "matched_by": matched_by or "",
        "matched_difference": found.estimate,
        "matched_difference_low": found.low,
        "matched_difference_high": found.high,
        "matched_difference_recipe_low": recipes.low,
        "matched_difference_recipe_high": recipes.high,
    }


def _cost(name: str, members: pd.DataFrame, compared: Comparison) -> dict[str, object]:
    confirmed = compared.confirmed
    own, every = confirmed[confirmed["arm"] == name], members[members["arm"] == name]
    row: dict[str, object] = {column: own[column].mean() for column in (*COST, "peak_memory_bytes") if column in own}
    return row | {f"total_{column}": every[column].sum() for column in COST if column in every}

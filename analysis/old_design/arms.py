"""One row per arm: what it reached over its confirm members, and how it compares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.asked import Asked
from analysis.decomposition import decompose, under_trained
from analysis.member_columns import COST, Roles, agreed, metric_columns, metric_values, quality_columns, usable
from analysis.old_design import comparisons
from analysis.old_design.adequacy import adequacy
from analysis.old_design.claims import with_claims
from analysis.old_design.comparisons import Contrast, contrast
from analysis.old_design.predictions import (
    ArmPredictions,
    compare_predictions,
    sampling_error,
    split_factor,
    two_way_draws,
)
from analysis.old_design.selection import confirmed_trials
from analysis.old_design.two_level_bootstrap import Resamples

NAN = float("nan")
UNMEASURED = {"large_batch_drop": NAN, "drop_train_error": NAN, "drop_generalization_gap": NAN}


def confirmed_members(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The rows that are the arms' results: usable confirm members of the selected trials."""
    results = usable(members)
    chosen = results["trial_id"].isin(confirmed_trials(results, asked)["trial_id"])
    return results[chosen & (results["stage"] == "confirm")]


def arms_table(
    members: pd.DataFrame,
    asked: Asked,
    resamples: Resamples,
    predictions: Mapping[str, ArmPredictions],
    roles: Roles,
) -> pd.DataFrame:
    """One row per arm of the space, in its order; what is not known is null.

    Means are over splits of means over confirm seeds; _std is over seeds within splits, pooled. The primary comparison
    is `difference` (test error of the arm minus the reference's) with the headline interval; p_holm is over the arms
    that are tested; claim is true where p_holm < 0.05 and the difference is above the placebo's. All else is
    exploratory.
    """
    confirmed = confirmed_members(members, asked)
    names = asked.order(sorted({arm.name for arm in asked.arms} | set(members["arm"].unique())))
    reason = drop_reason_of(asked, resamples, predictions)
    draws = two_way_draws(predictions, asked)
    rows = []
    for name in names:
        row: dict[str, object] = _identity(name, members, confirmed, asked)
        row |= _reached(name, confirmed, asked, resamples, roles)
        row |= _difference(name, asked, resamples)
        row |= _drop(name, confirmed, asked, resamples)
        closed = comparisons.gap_closed(resamples, name, asked, reason)
        row |= {
            "gap_closed": NAN if closed.value is None else closed.value,
            "gap_closed_low": closed.interval.low,
            "gap_closed_high": closed.interval.high,
        }
        row |= {"gap_closed_reason": closed.reason} | _matched(name, asked, resamples)
        row |= _predictions(name, asked, predictions, draws)
        row |= adequacy(usable(members), asked, name, _reference_errors(asked, resamples))._asdict()
        rows.append(row | _cost(name, members, confirmed))
    return with_claims(pd.DataFrame(rows), asked)


def drop_reason_of(asked: Asked, resamples: Resamples, predictions: Mapping[str, ArmPredictions]) -> str:
    """Why no share of the reference's drop can be given, "" where it can; see `comparisons.drop_reason`."""
    drop = _between(resamples, asked.reference, asked.baseline)
    return comparisons.drop_reason(asked, drop, _sampling_error(resamples, asked, predictions))


def _identity(name: str, members: pd.DataFrame, confirmed: pd.DataFrame, asked: Asked) -> dict[str, object]:
    arm, own, found = asked.arm(name), confirmed[confirmed["arm"] == name], members[members["arm"] == name]
    lost = found[(found["stage"] == "confirm") & ~found["status"].isin(("completed", "diverged"))]
    return {
        "arm": name,
        "role": arm.role,
        "batch_size": arm.batch_size if arm.batch_size is not None else agreed(found["batch_size"]),
        "remedies": ",".join(arm.remedies),
        "num_splits": own["split_seed"].nunique(),
        "n": len(own),
        "n_diverged": int((own["status"] == "diverged").sum()),
        "n_failed": len(lost),
    }


def _reached(name: str, confirmed: pd.DataFrame, asked: Asked, resamples: Resamples, roles: Roles) -> dict[str, object]:
    own = confirmed[confirmed["arm"] == name]
    values = [*quality_columns(confirmed, roles), *metric_values(confirmed, roles)]
    by_split = own.groupby("split_seed")[values]
    means, freedom = by_split.mean(), by_split.count() - 1
    pooled = np.sqrt((by_split.var(ddof=1) * freedom).sum() / freedom.sum().where(freedom.sum() > 0))
    row: dict[str, object] = {column: means[column].mean() for column in values}
    row |= {f"{column}_std": pooled[column] for column in values}
    row |= {column: agreed(own[column]) for column in metric_columns(confirmed, roles) if column not in values}
    level = contrast(resamples, name)
    effect = level.effect if level and asked.searches_resampled else None
    seeds = comparisons.seed_interval(resamples.confirmed[name]) if level else None
    return row | {
        "test_error_low": effect.low if effect else NAN,
        "test_error_high": effect.high if effect else NAN,
        "test_error_seed_low": seeds.low if seeds else NAN,
        "test_error_seed_high": seeds.high if seeds else NAN,
        "between_split_std": means["test_error"].std(ddof=1),
    }


def _difference(name: str, asked: Asked, resamples: Resamples) -> dict[str, object]:
    found = None if name == asked.reference else _between(resamples, name, asked.reference)
    seeds = comparisons.compare_seeds(resamples, asked, name, str(asked.reference)) if found else None
    headline = found.effect if found and asked.searches_resampled else None
    return {
        "difference": found.estimate if found else NAN,
        "difference_low": headline.low if headline else NAN,
        "difference_high": headline.high if headline else NAN,
        "difference_covers": _covers(name, asked, found) if headline else "",
        "difference_between_split_std": found.between_variance**0.5 if found else NAN,
        "difference_seed_low": seeds.effect.low if seeds else NAN,
        "difference_seed_high": seeds.effect.high if seeds else NAN,
        "difference_seed_test": seeds.test if seeds else "",
        "p_seed": seeds.effect.p if seeds else NAN,
        "p_sign_flip": seeds.p_sign_flip if seeds else NAN,
        "p": headline.p if headline else NAN,
    }


def _covers(name: str, asked: Asked, found: Contrast | None) -> str:
    """What the headline interval is over, in words."""
    search = "reselection" if asked.enumerates else "search"
    if not asked.arm(name).searched:
        search = "search of the reference only"
    return f"{search}, seeds" + (", splits" if found and found.by_split.size > 1 else "")


def _drop(name: str, confirmed: pd.DataFrame, asked: Asked, resamples: Resamples) -> dict[str, object]:
    found = None if name == asked.baseline else _between(resamples, name, asked.baseline)
    headline = found.effect if found and asked.searches_resampled else None
    row: dict[str, object] = dict(UNMEASURED) | {"under_trained": None}
    row |= {"large_batch_drop_low": headline.low if headline else NAN}
    row |= {"large_batch_drop_high": headline.high if headline else NAN}
    if found is None:
        return row
    means = confirmed.groupby(["arm", "split_seed"])[["test_error", "train_error", "train_loss"]].mean()
    own, other = means.xs(name, level="arm"), means.xs(asked.baseline, level="arm")
    common = own.index.intersection(other.index)
    test, train, loss = (float(value) for value in own.loc[common].to_numpy().mean(axis=0))
    baseline_test, baseline_train, baseline_loss = (float(value) for value in other.loc[common].to_numpy().mean(axis=0))
    parts = decompose(test, train, baseline_test, baseline_train)
    return (
        row | parts._asdict() | {"under_trained": under_trained(train if asked.is_share else 0.0, loss, baseline_loss)}
    )


def _matched(name: str, asked: Asked, resamples: Resamples) -> dict[str, object]:
    matched_by = asked.arm(name).matched_by
    found = _between(resamples, name, matched_by)
    headline = found.effect if found and asked.searches_resampled else None
    return {
        "matched_by": matched_by or "",
        "matched_difference": found.estimate if found else NAN,
        "matched_difference_low": headline.low if headline else NAN,
        "matched_difference_high": headline.high if headline else NAN,
    }


def _predictions(
    name: str,
    asked: Asked,
    predictions: Mapping[str, ArmPredictions],
    draws: Mapping[str, Mapping[int, FloatArray]],
) -> dict[str, object]:
    other = str(asked.reference) if name != asked.reference else ""
    (low, high), p, disagreement = compare_predictions(predictions, draws, name, other)
    return {"two_way_low": low, "two_way_high": high, "mcnemar_p": p, "disagreement": disagreement}


def _cost(name: str, members: pd.DataFrame, confirmed: pd.DataFrame) -> dict[str, object]:
    own, every = confirmed[confirmed["arm"] == name], members[members["arm"] == name]
    row: dict[str, object] = {column: own[column].mean() for column in (*COST, "peak_memory_bytes") if column in own}
    return row | {f"total_{column}": every[column].sum() for column in COST if column in every}


def _between(resamples: Resamples, first: str | None, second: str | None) -> Contrast | None:
    return contrast(resamples, first, second) if first is not None and second is not None else None


def _sampling_error(resamples: Resamples, asked: Asked, predictions: Mapping[str, ArmPredictions]) -> float | None:
    """Standard error of the reference's drop from drawing the test examples; from predictions where there are any."""
    baseline, reference = str(asked.baseline), str(asked.reference)
    if baseline in predictions and reference in predictions:
        return sampling_error(predictions[reference], predictions[baseline], asked)
    if (
        asked.error is not None
        or asked.num_test is None
        or baseline not in resamples.confirmed
        or reference not in resamples.confirmed
    ):
        return None
    errors = [comparisons.mean_error(resamples.confirmed[name]) for name in (reference, baseline)]
    factor = split_factor(asked, len(resamples.split_seeds))
    return comparisons.binomial_sampling_error(errors[0], errors[1], asked.num_test) * float(factor**0.5)


def _reference_errors(asked: Asked, resamples: Resamples) -> dict[int, float]:
    estimates = resamples.estimates.get(str(asked.reference), np.full(len(resamples.split_seeds), NAN))
    return {split: float(e) for split, e in zip(resamples.split_seeds, estimates, strict=True) if np.isfinite(e)}

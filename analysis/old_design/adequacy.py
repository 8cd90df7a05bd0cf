"""Was the search large enough: best-of-k curves, whether the last doubling still gained, ease of tuning."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.asked import Asked
from analysis.best_of_k import best_of_k
from analysis.old_design.ties import SEARCH_STAGES, trial_scores


class Adequacy(NamedTuple):
    """How one arm's search went, means over splits; errors are fractions, nan where unknown."""

    num_trials: int
    search_gain: float
    search_gain_se: float
    search_converged: bool | None
    median_trial_test_error: float
    share_beating_reference: float


UNSEARCHED = Adequacy(0, float("nan"), float("nan"), None, float("nan"), float("nan"))


def trial_errors(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """One row per trial: arm, split_seed, trial_id, mean test_error over search and rescreen seeds, value and tie (see ties)."""
    rows = members.loc[members["stage"].isin(SEARCH_STAGES), ["arm", "split_seed", "trial_id", "test_error"]]
    means = rows.groupby(["arm", "split_seed", "trial_id"], as_index=False)[["test_error"]].mean()
    found = trial_scores(members, asked)
    ranked = means.assign(value=means["trial_id"].map(found["value"]), tie=means["trial_id"].map(found["tie"]))
    return ranked.dropna(subset=["test_error", "value"])


def curves(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Best-of-k curves: arm, split_seed, k, test_error; empty where trials are not exchangeable (tpe, schedulers)."""
    columns = ["arm", "split_seed", "k", "test_error"]
    if not asked.searches_resampled:
        return pd.DataFrame(columns=columns)
    parts = [
        pd.DataFrame({"arm": arm, "split_seed": split, "k": range(1, len(rows) + 1), "test_error": _curve(rows)})
        for (arm, split), rows in trial_errors(members, asked).groupby(["arm", "split_seed"], sort=False)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _curve(rows: pd.DataFrame) -> FloatArray:
    ordered = rows.sort_values("tie", kind="stable")
    return best_of_k(ordered["value"].to_numpy(np.float64), ordered["test_error"].to_numpy(np.float64))


def adequacy(members: pd.DataFrame, asked: Asked, arm: str, reference_errors: dict[int, float]) -> Adequacy:
    """Of one arm: the gain of the last doubling of trials beside its standard error, median trial, share that beats.

    Gain: best_of_k at T // 2 minus at T. Its standard error: the pooled standard deviation over the search seeds of a
    trial, over sqrt(seeds). Not converged where the gain is more than one. reference_errors: split_seed -> confirmed
    test error of the tuned reference, which a trial beats if its own mean test error is lower.
    """
    trials = trial_errors(members[members["arm"] == arm], asked)
    by_split = [rows for _, rows in trials.groupby("split_seed")]
    if not by_split:
        return UNSEARCHED
    gains = [_last_doubling(rows) for rows in by_split] if asked.searches_resampled else [float("nan")]
    gain, error = float(np.mean(gains)), _trial_standard_error(members[members["arm"] == arm])
    known = trials[trials["split_seed"].isin(list(reference_errors))]
    beats = known["test_error"] < known["split_seed"].map(reference_errors)
    return Adequacy(
        num_trials=len(trials),
        search_gain=gain,
        search_gain_se=error,
        search_converged=bool(gain <= error) if np.isfinite(gain) and np.isfinite(error) else None,
        median_trial_test_error=float(np.mean([rows["test_error"].median() for rows in by_split])),
        share_beating_reference=float(beats.mean()) if len(beats) else float("nan"),
    )


def _last_doubling(rows: pd.DataFrame) -> float:
    if len(rows) < 2:
        return float("nan")
    curve = _curve(rows)
    return float(curve[len(rows) // 2 - 1] - curve[-1])


def _trial_standard_error(members: pd.DataFrame) -> float:
    search = members[members["stage"] == "search"].groupby("trial_id")["test_error"]
    counts, variances = search.count(), search.var(ddof=1)
    return float(np.sqrt(variances.mean() / counts.mean())) if len(counts) else float("nan")

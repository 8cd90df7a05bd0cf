"""Does the error follow eta/B alone, or the batch size as well? A fit over crossed configurations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray

MIN_BATCH_SIZES = 3
MIN_TRIALS_PER_TERM = 2


class ScalingFit(NamedTuple):
    """Leave-one-out R^2 of test error on quadratics: of log eta/B, with log B added, with log updates added.

    An axis that another one determines (updates, at fixed epochs) adds nothing and its R^2 is that of the fit without
    it.
    """

    r2_eta_over_b: float
    r2_with_batch_size: float
    r2_with_updates: float
    num_trials: int
    num_batch_sizes: int


def scaling_fit(configurations: pd.DataFrame) -> ScalingFit | None:
    """Fit over trials without a remedy; None below 3 batch sizes or 2 trials a term.

    log test error, so that a relative change counts the same at all levels; trials that diverged are left out.
    """
    table = configurations[(configurations["remedies"].fillna("") == "") & (configurations["n_diverged"] == 0)]
    table = table[["eta_over_b", "batch_size", "updates", "test_error"]].astype(float).dropna()
    table = table[(table > 0).all(axis=1)]
    logs = np.log(table.to_numpy(np.float64))
    num_batch_sizes = int(table["batch_size"].nunique())
    if num_batch_sizes < MIN_BATCH_SIZES or len(table) < MIN_TRIALS_PER_TERM * 10:
        return None
    alone, with_batch_size, with_updates = (leave_one_out_r2(logs[:, :axes], logs[:, 3]) for axes in (1, 2, 3))
    return ScalingFit(alone, with_batch_size, with_updates, len(table), num_batch_sizes)


def scaling_fits(configurations: pd.DataFrame) -> dict[str, ScalingFit]:
    """The fit of every kind of arm by itself: its remedies (empty for none) -> f(eta/B) against f(eta, B), see `scaling_fit`."""
    groups = configurations.assign(remedies="").groupby(configurations["remedies"].fillna(""))
    fits = {str(remedies): scaling_fit(rows) for remedies, rows in groups}
    return {remedies: fit for remedies, fit in fits.items() if fit is not None}


def leave_one_out_r2(axes: FloatArray, values: FloatArray) -> float:
    """1 - sum (e_i / (1 - h_i))^2 / sum (v_i - mean of the others)^2 for the full quadratic; h is the leverage."""
    centred = (axes - axes.mean(axis=0)) / np.where(axes.std(axis=0) > 0, axes.std(axis=0), 1.0)
    products = [centred[:, i] * centred[:, j] for i in range(axes.shape[1]) for j in range(i + 1)]
    asked = np.column_stack([np.ones(len(values)), centred, *products])
    hat = asked @ np.linalg.pinv(asked, rcond=1e-8)
    left = 1 - np.clip(np.diag(hat), 0, 1 - 1e-9)
    n = len(values)
    around_mean = (values - values.mean()) * n / (n - 1)
    return float(1 - np.sum(((values - hat @ values) / left) ** 2) / np.sum(around_mean**2))

"""What the best of k configurations reaches on average: the curve that says whether a search was large enough."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from analysis.arrays import FloatArray


def best_of_k(validation: FloatArray, test: FloatArray) -> FloatArray:
    """Expected test error of the trial with the lowest validation error among k of T, for k = 1 .. T.

    With trials sorted by validation error, trial r (from 1) is the best of a random k-subset with probability
    C(T - r, k - 1) / C(T, k): exact, no draws. Right for trials that are exchangeable.
    """
    test = test[np.argsort(validation, kind="stable")]
    total = test.size
    rank, k = np.arange(1, total + 1)[None], np.arange(1, total + 1)[:, None]
    possible = total - rank >= k - 1
    left = np.where(possible, total - rank, k - 1)
    log_share = _log_choose(left, k - 1) - _log_choose(np.full_like(k, total), k)
    return np.asarray(np.where(possible, np.exp(log_share), 0.0) @ test, dtype=np.float64)


def _log_choose(n: np.ndarray, k: np.ndarray) -> FloatArray:
    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0), dtype=np.float64)

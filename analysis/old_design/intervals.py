"""Intervals and tests on plain arrays: Student t, Welch, sign-flip, Holm, Fieller, multiplier draws, random effects."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, stdtr, stdtrit

from analysis.arrays import FloatArray

LEVEL = 0.95
NORMAL_QUANTILE = 1.959963984540054
MAX_EXACT_FLIPS = 16
NEGLIGIBLE = 1e-6


class Interval(NamedTuple):
    """A 95 % interval; nan on both sides where it cannot be computed."""

    low: float
    high: float


class Effect(NamedTuple):
    """An estimate with its interval and two-sided p-value."""

    estimate: float
    low: float
    high: float
    p: float


UNKNOWN = Interval(float("nan"), float("nan"))


def t_interval(values: FloatArray) -> Interval:
    """Student t interval of a mean: m +- t(0.975, n - 1) s / sqrt(n). Unknown below two values."""
    values = values[np.isfinite(values)]
    if values.size < 2:
        return UNKNOWN
    half = float(stdtrit(values.size - 1, (1 + LEVEL) / 2)) * float(values.std(ddof=1)) / values.size**0.5
    return Interval(float(values.mean()) - half, float(values.mean()) + half)


def influence(values: FloatArray) -> tuple[float, FloatArray]:
    """Mean over splits of the means over seeds, and what each seed adds to its error.

    values: (num_splits, num_seeds), nan where a member is missing. A seed starts from the same weights in every
    split, so it is one unit: psi_j = sum_s (x_sj - m_s) / (S n_s). With one split `standard_error` of psi is
    s / sqrt(n).
    """
    values = values[:, np.isfinite(values).any(axis=0)]
    counts = np.isfinite(values).sum(axis=1, keepdims=True)
    means = np.nansum(values, axis=1, keepdims=True) / counts
    psi = np.nan_to_num(values - means) / counts
    return float(means.mean()), np.asarray(psi.mean(axis=0), dtype=np.float64)


def standard_error(psi: FloatArray) -> float:
    """sqrt(n / (n - 1) sum_j psi_j^2) for the influences of n seeds; nan below two."""
    n = psi.size
    return float(np.sqrt(n / (n - 1) * np.sum(psi**2))) if n > 1 else float("nan")


def paired_effect(first: FloatArray, second: FloatArray) -> Effect:
    """First minus second over members with the same seed (and split): paired Student t with n - 1 degrees of freedom.

    Arrays of shape (num_splits, num_seeds). Right whatever the correlation within pairs is.
    """
    _, psi = influence(first - second)
    estimate = influence(first)[0] - influence(second)[0]
    return _student(estimate, standard_error(psi), psi.size - 1)


def welch_effect(first: FloatArray, second: FloatArray) -> Effect:
    """First minus second for independent members: Welch's t with the Satterthwaite degrees of freedom."""
    mean_first, psi_first = influence(first)
    mean_second, psi_second = influence(second)
    variances = [standard_error(psi_first) ** 2, standard_error(psi_second) ** 2]
    total = sum(variances)
    spread = sum(
        v**2 / (psi.size - 1) for v, psi in zip(variances, (psi_first, psi_second), strict=True) if psi.size > 1
    )
    freedom = total**2 / spread if spread > 0 else psi_first.size + psi_second.size - 2
    return _student(mean_first - mean_second, total**0.5, freedom)


def _student(estimate: float, error: float, freedom: float) -> Effect:
    if not np.isfinite(error) or freedom <= 0:
        return Effect(estimate, *UNKNOWN, float("nan"))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    z = abs(estimate) / error if error > 0 else (np.inf if estimate else 0.0)
    p = 2 * float(stdtr(freedom, -z))
    return Effect(estimate, estimate - half, estimate + half, p)


def sign_flip(differences: FloatArray, seed: int = 0) -> float:
    """Two-sided sign-flip test that paired differences are symmetric about 0.

    Exact up to 16 pairs, else 65,536 random flips. p = share of sign patterns with |mean| at least as
    large as seen; with n pairs never below 2 / 2^n.
    """
    differences = differences[np.isfinite(differences)]
    if differences.size == 0:
        return float("nan")
    if differences.size <= MAX_EXACT_FLIPS:
        signs = np.array(list(product((1.0, -1.0), repeat=differences.size)))
    else:
        draws = np.random.default_rng(seed).choice((1.0, -1.0), size=(2**MAX_EXACT_FLIPS - 1, differences.size))
        signs = np.vstack([np.ones(differences.size), draws])
    sums = np.abs(signs @ differences)
    return float(np.mean(sums >= abs(differences.sum()) * (1 - 1e-9)))


def fieller(
    numerator: float, denominator: float, covariance: FloatArray, quantile: float = NORMAL_QUANTILE
) -> Interval:
    """Fieller's (1954) interval of numerator / denominator: every r with (N - r D)^2 <= q^2 var(N - r D).

    covariance: (2, 2) of (N, D). Unknown where D is within q standard errors of 0, for the set is then unbounded.
    """
    q = quantile**2
    a = denominator**2 - q * covariance[1, 1]
    b = numerator * denominator - q * covariance[0, 1]
    c = numerator**2 - q * covariance[0, 0]
    if not np.isfinite([a, b, c]).all() or a <= 0:
        return UNKNOWN
    root = max(0.0, b**2 - a * c) ** 0.5
    return Interval((b - root) / a, (b + root) / a)


def percentile_effect(estimate: float, draws: FloatArray) -> Effect:
    """Percentile interval of B bootstrap draws, stretched to the estimate if it misses it; unknown if a draw is.

    p = 2 (number of draws not of the estimate's sign + 1) / (B + 1), at most 1. Resampled searches choose worse than
    the search itself, so draws may lie beside the estimate; intervals turned around it cover far less.
    """
    if not np.isfinite(draws).all():
        return Effect(estimate, *UNKNOWN, float("nan"))
    low, high = np.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    against = np.count_nonzero(draws * np.sign(estimate) <= 0)
    p = min(1.0, 2 * (against + 1) / (draws.size + 1))
    return Effect(estimate, min(float(low), estimate), max(float(high), estimate), p)


def t_scale(uniform: FloatArray, num_values: int) -> FloatArray:
    """sqrt(df / chi2_df), df = num_values - 1: turns normal draws into Student t draws; 0 below two values."""
    freedom = num_values - 1
    return np.asarray(np.sqrt(freedom / chdtri(freedom, uniform))) if freedom > 0 else np.zeros_like(uniform)


def between_split_variance(effects: FloatArray, variances: FloatArray) -> float:
    """Variance of the true effects between S splits, DerSimonian and Laird (1986); 0 for one split.

    tau^2 = max(0, (Q - (S - 1)) / (sum w - sum w^2 / sum w)), w = 1 / variance, Q = sum w (d - weighted mean)^2. Where a
    variance is (nearly) 0, the sample variance of the effects.
    """
    if effects.size < 2:
        return 0.0
    if not np.all(variances > NEGLIGIBLE * variances.max()):
        return float(effects.var(ddof=1))
    w = 1 / variances
    q = np.sum(w * (effects - np.sum(w * effects) / w.sum()) ** 2)
    # The denominator as its products w_i w_j / sum w, for the difference cancels where one weight is far above the others.
    products = np.outer(w, w)[~np.eye(w.size, dtype=bool)].sum() / w.sum()
    return float(max(0.0, (q - (effects.size - 1)) / products))

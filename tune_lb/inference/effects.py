"""Effects with intervals and p-values: paired Student t, Bonferroni-t, Holm, Fieller on paired blocks."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

FloatArray = NDArray[np.float64]
ALPHA = 0.05
NAN = float("nan")


class Effect(NamedTuple):
    """An estimate with its interval, two-sided p-value and degrees of freedom; nan where it cannot be computed."""

    estimate: float
    low: float
    high: float
    p: float
    freedom: float

    @property
    def half_width(self) -> float:
        """Return half the length of the interval."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Say whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def quantile(freedom: float, family: int = 1, alpha: float = ALPHA) -> float:
    """Return t(1 - alpha / (2 family), freedom): Student's quantile, by Bonferroni for a family of intervals."""
    return float(stdtrit(freedom, 1 - alpha / (2 * family)))


def differences(arm: FloatArray, reference: FloatArray) -> FloatArray:
    """Return the mean difference of every block, D_s, from errors of (S, m): block s, seed j.

    Differences are paired by block and seed. A seed that either lacks (nan) is left out of its block, a block without a pair
    out of the result: shape (at most S,).
    """
    pairs = np.atleast_2d(arm) - np.atleast_2d(reference)
    there = np.isfinite(pairs)
    whole = there.any(axis=1)
    return np.asarray(np.where(there, pairs, 0.0)[whole].sum(axis=1) / there[whole].sum(axis=1))


def student(estimate: float, error: float, freedom: float, family: int = 1) -> Effect:
    """Return estimate +- t(1 - .025 / family, freedom) error, with the p-value of one test (not adjusted for the family).

    Nothing is known (nan) without degrees of freedom or error. Without any spread an estimate of 0 has p = 1, and another one
    no p-value: equal differences in a few blocks say nothing of the next.
    """
    if not (math.isfinite(estimate) and math.isfinite(error) and freedom > 0):
        return Effect(estimate, NAN, NAN, NAN, max(freedom, 0))
    if error == 0:
        return Effect(estimate, estimate, estimate, 1.0 if estimate == 0 else NAN, freedom)
    half = quantile(freedom, family) * error
    p = 2 * float(stdtr(freedom, -abs(estimate) / error))
    return Effect(estimate, estimate - half, estimate + half, p, freedom)


def paired_t(
    differences: FloatArray, extra_variance: float = 0.0, family: int = 1, extra_freedom: float | None = None
) -> Effect:
    """Return the mean of paired differences with Student's t interval over S blocks.

    mean D +- t(1 - .025 / family, f) sqrt(A + E), A = s_D^2 / S, E = extra_variance: what does not average out over the blocks, as
    the variance of a selection. f = S - 1; where E was estimated with extra_freedom g of its own, Satterthwaite's (1946)
    f = (A + E)^2 / (A^2 / (S - 1) + E^2 / g). Few blocks may have fewer degrees of freedom than the sum: the interval is never
    shorter than with E = 0, and p never smaller, for what is added makes nothing surer. Below two blocks nothing but the
    estimate is known.
    """
    known = differences[np.isfinite(differences)]
    if known.size < 2:
        return Effect(float(known.mean()) if known.size else NAN, NAN, NAN, NAN, 0)
    mean, own, freedom = float(known.mean()), float(known.var(ddof=1)) / known.size, known.size - 1.0
    if extra_freedom is None or not extra_variance > 0:
        return student(mean, math.sqrt(own + extra_variance), freedom, family)
    alone = student(mean, math.sqrt(own), freedom, family)
    freedom = (own + extra_variance) ** 2 / (own**2 / freedom + extra_variance**2 / extra_freedom)
    both = student(mean, math.sqrt(own + extra_variance), freedom, family)
    wider = alone if alone.half_width > both.half_width else both
    return wider._replace(p=max(both.p, alone.p) if own > 0 else both.p)


def bonferroni_t(differences: FloatArray, extra_variances: FloatArray | None = None) -> list[Effect]:
    """Return simultaneous 95 % intervals of the means of K rows of differences, (K, S), by Bonferroni-t; p not adjusted."""
    extra = np.zeros(len(differences)) if extra_variances is None else extra_variances
    return [paired_t(row, float(v), len(differences)) for row, v in zip(differences, extra, strict=True)]


def holm(p_values: FloatArray) -> FloatArray:
    """Holm's (1979) adjustment: the i-th smallest of m becomes max over j <= i of min(1, (m - j + 1) p_(j)).

    Nan stays nan and does not count in m.
    """
    adjusted = np.full(p_values.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p_values[order]))
    return adjusted


def fieller(numerators: FloatArray, denominators: FloatArray, extra: FloatArray | None = None) -> Effect:
    """Return mean(numerators) / mean(denominators) over S paired blocks with Fieller's (1954) 95 % interval.

    The interval is every r with (N - r D)^2 <= t^2 var(N - r D), t = t(.975, S - 1), variances and covariance of the means
    from the paired blocks, plus `extra`, a (2, 2) covariance of what does not average out. It is unknown (nan) where D is
    within t standard errors of 0, for the set is then unbounded. p: of the hypothesis that the ratio is 0.
    """
    known = np.isfinite(numerators) & np.isfinite(denominators)
    n, d, size = numerators[known], denominators[known], int(known.sum())
    ratio = float(n.mean() / d.mean()) if size and d.mean() != 0 else NAN
    if size < 2:
        return Effect(ratio, NAN, NAN, NAN, 0)
    covariance = np.cov(n, d) / size + (0.0 if extra is None else extra)
    square = quantile(size - 1) ** 2
    a = float(d.mean() ** 2 - square * covariance[1, 1])
    b = float(n.mean() * d.mean() - square * covariance[0, 1])
    c = float(n.mean() ** 2 - square * covariance[0, 0])
    p = student(float(n.mean()), math.sqrt(covariance[0, 0]), size - 1).p
    if not a > 0:
        return Effect(ratio, NAN, NAN, p, size - 1)
    root = math.sqrt(max(0.0, b**2 - a * c))
    return Effect(ratio, (b - root) / a, (b + root) / a, p, size - 1)

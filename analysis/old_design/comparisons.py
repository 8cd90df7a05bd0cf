"""Differences between arms: the headline interval, the interval over seeds, and the share of the drop closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analysis.arrays import FloatArray
from analysis.asked import Asked
from analysis.old_design.intervals import (
    UNKNOWN,
    Effect,
    Interval,
    between_split_variance,
    fieller,
    influence,
    paired_effect,
    percentile_effect,
    sign_flip,
    welch_effect,
)
from analysis.old_design.two_level_bootstrap import Resamples

ALPHA = 0.05
MIN_SAMPLING_ERRORS = 2.0
NO_DROP = "no drop to close"


@dataclass(frozen=True)
class Contrast:
    """A difference of mean test errors over the splits that both arms have.

    estimate: mean over splits. within: (num_draws,), resampled points and seeds. by_split: (num_splits,).
    between_variance: tau^2 (DerSimonian and Laird). split_draws: (num_draws,), Student t deviations of scale
    tau / sqrt(S) that carry the signs of the observed splits, so that contrasts stay correlated.
    """

    estimate: float
    within: FloatArray
    by_split: FloatArray
    between_variance: float
    split_draws: FloatArray

    @property
    def effect(self) -> Effect:
        """The estimate with its percentile interval over points, seeds and splits."""
        return percentile_effect(self.estimate, self.within + self.split_draws)

    @property
    def split_residuals(self) -> FloatArray:
        """(num_splits,), residuals scaled so that their squares sum to tau^2 / S."""
        return _split_residuals(self.by_split, self.between_variance)


def contrast(resamples: Resamples, first: str, second: str | None = None, *others: str) -> Contrast | None:
    """First minus second (or first itself), over the splits that these and `others` have; None without such a split."""
    names = [name for name in (first, second, *others) if name is not None]
    if any(name not in resamples.estimates for name in names):
        return None
    common = np.all([np.isfinite(resamples.estimates[name]) for name in names], axis=0)
    if not common.any():
        return None
    by_split = resamples.estimates[first][common]
    draws = resamples.draws[first][:, common]
    if second is not None:
        by_split = by_split - resamples.estimates[second][common]
        draws = draws - resamples.draws[second][:, common]
    variance = between_split_variance(by_split, draws.var(axis=0))
    split_draws = resamples.split_noise[:, common] @ _split_residuals(by_split, variance)
    return Contrast(float(by_split.mean()), draws.mean(axis=1), by_split, variance, split_draws)


def _split_residuals(by_split: FloatArray, variance: float) -> FloatArray:
    residuals = by_split - by_split.mean()
    length = float(np.sqrt(np.sum(residuals**2)))
    return residuals * (np.sqrt(variance / by_split.size) / length) if length > 0 else np.zeros_like(by_split)


class SeedComparison(NamedTuple):
    """First minus second over confirm seeds alone: given these configurations and these splits."""

    effect: Effect
    test: str
    p_sign_flip: float


def compare_seeds(resamples: Resamples, asked: Asked, first: str, second: str) -> SeedComparison | None:
    """Paired Student t where both arms have the same seeds (they share weights and data order), else Welch's t.

    Pairing costs little where seeds pair badly (7 instead of about 14 degrees of freedom with 8 seeds) and gains much
    where they pair well; Welch on paired members would be wrong. The placebo has draws of its own: Welch.
    """
    if first not in resamples.confirmed or second not in resamples.confirmed:
        return None
    one, two = resamples.confirmed[first], resamples.confirmed[second]
    common = np.isfinite(resamples.estimates[first]) & np.isfinite(resamples.estimates[second])
    if not common.any():
        return None
    one, two = one[common], two[common]
    paired = asked.arm(first).shares_draws and asked.arm(second).shares_draws
    differences = one - two
    if paired and np.isfinite(differences).any(axis=1).all():
        complete = differences[:, np.isfinite(differences).all(axis=0)]
        return SeedComparison(paired_effect(one, two), "paired t", sign_flip(complete.mean(axis=0)))
    return SeedComparison(welch_effect(one, two), "Welch t", float("nan"))


class GapClosed(NamedTuple):
    """Share of the reference's drop that an arm closes, with Fieller's interval; or why there is none."""

    value: float | None
    interval: Interval
    reason: str


def drop_reason(asked: Asked, drop: Contrast | None, sampling_error: float | None) -> str:
    """Why no share of the drop can be given (docs/inference_old_design.md, section 5), "" where it can."""
    if asked.scheduler:
        return f"trials were stopped by {asked.scheduler}: arms cannot be compared"
    if drop is None:
        missing = "baseline" if asked.baseline is None else f"{asked.baseline} or {asked.reference}"
        return f"no drop known: {missing} has no confirmed members in a common split"
    if not asked.searches_resampled:
        return f"the drop's interval over searches is not known with the {asked.sampler} sampler"
    estimate, low, high, _ = drop.effect
    if not np.isfinite(low):
        return "the drop's interval is not known: fewer than 2 confirm seeds in a split"
    text = f"{NO_DROP} ({_points(estimate)} [{_points(low)}, {_points(high)}])"
    if not low > 0:
        return text
    if sampling_error is None:
        return "the number of test examples is not known, so neither is the drop's sampling error"
    if estimate < MIN_SAMPLING_ERRORS * sampling_error:
        return f"{text[:-1]}, {estimate / sampling_error:.1f} standard errors of the test set)"
    return ""


def gap_closed(resamples: Resamples, arm: str, asked: Asked, reason: str) -> GapClosed:
    """1 - drop(arm) / drop(reference) = (reference - arm) / (reference - baseline), in shares of 1."""
    if reason:
        return GapClosed(None, UNKNOWN, reason)
    if arm in (asked.baseline, asked.reference):
        # by definition: no interval
        return GapClosed(1.0 if arm == asked.baseline else 0.0, UNKNOWN, "")
    reference, baseline = str(asked.reference), str(asked.baseline)
    closed = contrast(resamples, reference, arm, baseline)
    drop = contrast(resamples, reference, baseline, arm)
    if closed is None or drop is None:
        return GapClosed(None, UNKNOWN, "not confirmed yet")
    interval = ratio_interval(closed, drop)
    if not np.isfinite(interval.low):
        return GapClosed(None, UNKNOWN, "the drop is too uncertain for a share of it")
    return GapClosed(closed.estimate / drop.estimate, interval, "")


def tuning_closed(resamples: Resamples, asked: Asked) -> GapClosed:
    """What tuning alone closes: (copied - reference) / (copied - baseline), Fieller's interval.

    Of the excess error of a large batch at the baseline's own rate, the share that goes when the rate is tuned.
    """
    copied = asked.named("copied")
    if copied is None or asked.reference is None or asked.baseline is None:
        return GapClosed(None, UNKNOWN, "the space has no arm with the baseline's rate copied")
    closed = contrast(resamples, copied, asked.reference, asked.baseline)
    excess = contrast(resamples, copied, asked.baseline, asked.reference)
    if closed is None or excess is None:
        return GapClosed(None, UNKNOWN, "not confirmed yet")
    interval = ratio_interval(closed, excess)
    if not excess.effect.low > 0 or not np.isfinite(interval.low):
        return GapClosed(None, UNKNOWN, "copying the baseline's rate costs nothing that can be told from zero")
    return GapClosed(closed.estimate / excess.estimate, interval, "")


def ratio_interval(numerator: Contrast, denominator: Contrast) -> Interval:
    """Fieller's interval of a ratio of contrasts; their covariance is that of the draws plus that between splits."""
    residuals = np.stack([numerator.split_residuals, denominator.split_residuals])
    covariance = np.cov(numerator.within, denominator.within) + residuals @ residuals.T
    return fieller(numerator.estimate, denominator.estimate, covariance)


def binomial_sampling_error(first: float, second: float, num_test: int) -> float:
    """Standard error of a difference of two error rates on num_test independent examples each.

    sqrt((p (1 - p) + q (1 - q)) / num_test): more than on the same examples, where the errors of two networks overlap.
    """
    return float(np.sqrt((first * (1 - first) + second * (1 - second)) / num_test))


def seed_std(confirmed: FloatArray) -> float:
    """Standard deviation over seeds within splits, pooled: sqrt(sum (x - m_s)^2 / (n - S)); nan without a repeat."""
    rows = confirmed[np.isfinite(confirmed).any(axis=1)]
    freedom = int(np.isfinite(rows).sum()) - len(rows)
    if freedom < 1:
        return float("nan")
    return float(np.sqrt(np.nansum((rows - np.nanmean(rows, axis=1, keepdims=True)) ** 2) / freedom))


def seed_interval(confirmed: FloatArray) -> Interval:
    """Student t interval of an arm's mean over seeds, averaged over its splits."""
    known = confirmed[np.isfinite(confirmed).any(axis=1)]
    effect = paired_effect(known, np.zeros_like(known))
    return Interval(effect.low, effect.high)


def mean_error(confirmed: FloatArray) -> float:
    """Mean over splits of the means over seeds."""
    return influence(confirmed[np.isfinite(confirmed).any(axis=1)])[0]


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f}"

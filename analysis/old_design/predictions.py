"""What test predictions add (exploratory): noise of the test examples, two-way bootstrap, McNemar, disagreement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from analysis.arrays import FloatArray
from analysis.asked import Asked
from analysis.old_design.intervals import UNKNOWN, Interval, percentile_effect, t_scale

NUM_DRAWS = 1000


@dataclass(frozen=True)
class SplitPredictions:
    """Predicted classes of the confirmed members of one arm in one split.

    seeds: (num_members,). classes: (num_members, num_test). targets: (num_test,).
    """

    seeds: NDArray[np.int64]
    classes: NDArray[np.integer]
    targets: NDArray[np.integer]

    @property
    def errors(self) -> FloatArray:
        """(num_members, num_test), 1 where the class is wrong."""
        return np.asarray(self.classes != self.targets, dtype=np.float64)


ArmPredictions = Mapping[int, SplitPredictions]


class PredictionComparison(NamedTuple):
    """First minus second on the same test examples, means over splits."""

    two_way: Interval
    mcnemar_p: float
    disagreement: float


def compare_predictions(
    predictions: Mapping[str, ArmPredictions], draws: Mapping[str, Mapping[int, FloatArray]], first: str, second: str
) -> PredictionComparison:
    """Two-way bootstrap of the difference over seeds and examples, McNemar's test, share of unequal predictions.

    draws: of `two_way_draws`. McNemar compares majority votes over seeds; over S > 1 splits p = min(1, 2 median p)
    (Rueger 1978), which holds whatever their test sets have in common. Disagreement is over members with the same
    position among the seeds.
    """
    arms = predictions.get(first, {}), predictions.get(second, {})
    splits = sorted(set(arms[0]) & set(arms[1]))
    if not splits:
        return PredictionComparison(UNKNOWN, float("nan"), float("nan"))
    pairs = [(arms[0][split], arms[1][split]) for split in splits]
    difference = float(np.mean([one.errors.mean() - two.errors.mean() for one, two in pairs]))
    effect = percentile_effect(difference, np.mean([draws[first][s] - draws[second][s] for s in splits], axis=0))
    p_values = [
        mcnemar(majority(one.classes) != one.targets, majority(two.classes) != two.targets) for one, two in pairs
    ]
    p = p_values[0] if len(splits) == 1 else min(1.0, 2 * float(np.median(p_values)))
    sizes = [min(len(one.seeds), len(two.seeds)) for one, two in pairs]
    unequal = [np.mean(one.classes[:n] != two.classes[:n]) for (one, two), n in zip(pairs, sizes, strict=True)]
    return PredictionComparison(Interval(effect.low, effect.high), p, float(np.mean(unequal)))


def two_way_draws(predictions: Mapping[str, ArmPredictions], asked: Asked) -> dict[str, dict[int, FloatArray]]:
    """Error rates with new test examples and new seeds: arm -> split_seed -> (num_draws,).

    In each draw the examples get Dirichlet(1, ..., 1) weights (Rubin's Bayesian bootstrap, 1981) and the seeds t-scaled
    multiplier weights. All arms see the same examples (all splits too, if the test part is the set's own), and those
    that share draws the same seeds. Cost: one product of (num_draws, num_test) and (num_test, num_members) per arm
    and split.
    """
    draws: dict[str, dict[int, FloatArray]] = {arm: {} for arm in predictions}
    for split in sorted({split for by_split in predictions.values() for split in by_split}):
        arms = {arm: by_split[split] for arm, by_split in predictions.items() if split in by_split}
        num_test = next(iter(arms.values())).targets.size
        generator = np.random.default_rng((0 if asked.own_test_split else split, num_test))
        weights = generator.standard_exponential((NUM_DRAWS, num_test), dtype=np.float32)
        weights /= weights.sum(axis=1, keepdims=True)
        for arm, found in arms.items():
            stream = 0 if asked.arm(arm).shares_draws else 1
            draws[arm][split] = _reseeded(weights @ found.errors.T.astype(np.float32), found.seeds, stream)
    return draws


def _reseeded(rates: NDArray[np.float32], seeds: NDArray[np.int64], stream: int) -> FloatArray:
    """Means over members, (num_draws,), moved as other seeds would move them; rates: (num_draws, num_members)."""
    means, n = rates.mean(axis=1), seeds.size
    if n < 2:
        return np.asarray(means, dtype=np.float64)
    multipliers = [np.random.default_rng((stream, 2, int(seed))).standard_normal(NUM_DRAWS) for seed in seeds]
    scale = t_scale(np.random.default_rng((stream, 1)).random(NUM_DRAWS), n)
    deviation = np.sum(np.stack(multipliers, axis=1) * (rates - means[:, None]), axis=1) / (n * (n - 1)) ** 0.5
    return np.asarray(means + scale * deviation, dtype=np.float64)


def majority(classes: NDArray[np.integer]) -> NDArray[np.int64]:
    """The class that most members predict, (num_test,); the lowest of those that tie."""
    best = np.zeros(classes.shape[1], dtype=np.int64)
    most = np.zeros(classes.shape[1], dtype=np.int64)
    for label in np.unique(classes):
        votes = np.count_nonzero(classes == label, axis=0)
        best, most = np.where(votes > most, label, best), np.maximum(votes, most)
    return best


def mcnemar(first_wrong: NDArray[np.bool_], second_wrong: NDArray[np.bool_]) -> float:
    """Exact McNemar test (1947): of b + c examples wrong in one arm alone, is b binomial(b + c, 1/2)? Two-sided p."""
    only_first = int(np.count_nonzero(first_wrong & ~second_wrong))
    only_second = int(np.count_nonzero(second_wrong & ~first_wrong))
    total = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), total, 0.5))) if total else 1.0


def sampling_error(first: ArmPredictions, second: ArmPredictions, asked: Asked) -> float | None:
    """Standard error of the difference of mean errors from drawing the test examples; None without common predictions.

    Per split the standard deviation over examples of (share of seeds wrong, first minus second) / sqrt(num_test). Over
    S splits the variance is the mean one times 1/S + (S - 1)/S f, where f is the share of examples that two test sets
    have in common: 1 with a test part of the set's own, else num_test / (num_train + num_validation + num_test), its
    expectation.
    """
    splits = sorted(set(first) & set(second))
    if not splits:
        return None
    variances = [
        float((first[s].errors.mean(axis=0) - second[s].errors.mean(axis=0)).var(ddof=1)) / first[s].targets.size
        for s in splits
    ]
    return float(np.sqrt(np.mean(variances) * split_factor(asked, len(splits))))


def split_factor(asked: Asked, num_splits: int) -> float:
    """1/S + (S - 1)/S f: how much of the variance of one test set is left in a mean over S splits."""
    parts = (asked.num_train, asked.num_validation, asked.num_test)
    total = sum(part or 0 for part in parts)
    overlap = 1.0 if asked.own_test_split or not total else (asked.num_test or 0) / total
    return 1 / num_splits + (num_splits - 1) / num_splits * overlap

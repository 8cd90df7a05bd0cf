"""The old design on a pool: two cuts, 12 points x 2 seeds by validation error, rescreen, 8 confirm seeds, two-level bootstrap."""

from __future__ import annotations

import math

import numpy as np
from power_designs import Array, Pool, spread_points

from analysis.old_design.comparisons import contrast
from analysis.old_design.intervals import Effect, t_scale
from analysis.old_design.selection import SearchedArm
from analysis.old_design.two_level_bootstrap import Resamples, _Randomness

NUM_SAMPLES, SEEDS, RESCREEN_SEEDS, CONFIRM_SEEDS, MOST_RESCREENED = 12, 2, 3, 8, 3
NUM_DRAWS = 1_000


def searched(pool: Pool, points: Array, cut: int, rng: np.random.Generator) -> SearchedArm:
    """Return what search, rescreen and confirm show of an arm in one cut; seeds are drawn from the pool with replacement."""
    num_seeds = pool.trained.shape[2]
    first, again, last = np.split(rng.integers(num_seeds, size=SEEDS + RESCREEN_SEEDS + CONFIRM_SEEDS), [2, 5])
    seen = np.concatenate([first, again])
    validation = pool.table["validation_error"][points, cut][:, seen]
    means = validation[:, :SEEDS].mean(axis=1)
    best = int(np.nanargmin(means))
    near = means <= means[best] + validation[best, :SEEDS].std(ddof=1) / math.sqrt(SEEDS)
    rescreened = np.flatnonzero(near)[np.argsort(means[near], kind="stable")][:MOST_RESCREENED]
    outside = np.setdiff1d(np.arange(len(points)), rescreened)
    validation[outside, SEEDS:] = math.nan
    test = np.where(np.isnan(validation), math.nan, pool.table["test_error"][points, cut][:, seen])
    scores = np.nanmean(validation[rescreened], axis=1)
    chosen = int(rescreened[scores.argmin()])
    return SearchedArm(
        trial_ids=tuple(str(point) for point in points),
        points=np.arange(len(points)),
        validation=validation,
        test=test,
        confirmed=chosen,
        confirm_test=pool.table["test_error"][points[chosen], cut, last],
        tie=pool.table["validation_loss"][points, cut, seen[0]],
    )


def effects(arms: dict[str, Pool], shared: list[str], reference: str, rng: np.random.Generator) -> dict[str, Effect]:
    """Return the headline effects of one run: of arms that share points and seeds with the reference, and of those that do not."""
    cuts = range(2)
    seed = int(rng.integers(2**31))
    found: dict[str, dict[int, SearchedArm]] = {}
    randomness = {}
    for number, (name, pool) in enumerate(arms.items()):
        own = np.random.default_rng((seed, 0 if name in shared else number + 1))
        coordinate = pool.points[:, 0]
        found[name] = {cut: searched(pool, spread_points(coordinate, NUM_SAMPLES, own), cut, own) for cut in cuts}
        drawn = np.random.default_rng((seed, 10_000 + (0 if name in shared else number + 1)))
        own_arms = list(found[name].values())
        randomness[name] = _Randomness.draw(own_arms, NUM_DRAWS, drawn, resample_points=True)
    normal = rng.standard_normal((NUM_DRAWS, 2)) * t_scale(rng.random(NUM_DRAWS), 3)[:, None]
    resamples = Resamples(
        tuple(cuts),
        {name: np.array([arm.test_error for arm in by.values()]) for name, by in found.items()},
        {
            name: np.stack([randomness[name].procedure(arm) for arm in by.values()], axis=1)
            for name, by in found.items()
        },
        {name: np.array([arm.confirm_test for arm in by.values()]) for name, by in found.items()},
        normal,
    )
    contrasts = {name: contrast(resamples, name, reference) for name in arms if name != reference}
    return {name: found.effect for name, found in contrasts.items() if found is not None}

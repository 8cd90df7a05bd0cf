"""The two-level bootstrap: the procedure drawn again, points, selection and seeds (docs/inference_old_design.md, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.asked import Asked
from analysis.old_design.intervals import t_scale
from analysis.old_design.selection import SearchedArm, searched_arms

NUM_DRAWS = 4000


@dataclass(frozen=True)
class Resamples:
    """Test errors of the procedure, as found and as resampled.

    estimates: arm -> (num_splits,), nan where the arm has no confirmed member; draws: arm -> (num_draws, num_splits).
    confirmed: arm -> (num_splits, num_confirm_seeds). split_noise: (num_draws, num_splits), Student t with as many
    degrees of freedom as there are splits, the same for all arms.
    """

    split_seeds: tuple[int, ...]
    estimates: dict[str, FloatArray]
    draws: dict[str, FloatArray]
    confirmed: dict[str, FloatArray]
    split_noise: FloatArray


def resample(members: pd.DataFrame, asked: Asked, num_draws: int = NUM_DRAWS, seed: int = 0) -> Resamples:
    """Draw the whole procedure again num_draws times.

    In each draw the points are drawn with replacement; a drawn trial's validation error is its mean over m seeds plus
    the multiplier-bootstrap deviation sum_j h_j (v_ij - v_i) / sqrt(m (m - 1)); the lowest is selected. Its test error
    is that of its confirm seeds where it is the trial that was really selected, and deviates from their mean by
    sqrt(df / chi2) sum_j g_j (t_j - t) / sqrt(n (n - 1)), so that without a search the interval is Student's t; else it
    is that of its search and rescreen seeds, with the same h. h and g are normal. Whatever arms share is drawn once for
    all of them (points, seeds, also over splits), so an arm that is the reference under another name differs from it by
    exactly 0 in every draw. The placebo has draws of its own. A grid is not resampled, only reselected; see
    `Asked.searches_resampled` for what cannot be.
    """
    found = searched_arms(members, asked)
    splits = tuple(sorted({split for by_split in found.values() for split in by_split}))
    names = asked.order(list(found))
    groups = {name: 0 if asked.arm(name).shares_draws else names.index(name) + 1 for name in names}
    randomness = {
        group: _Randomness.draw(
            [arm for name in names if groups[name] == group for arm in found[name].values()],
            num_draws,
            np.random.default_rng((seed, group)),
            resample_points=not asked.enumerates,
        )
        for group in set(groups.values())
    }
    estimates, draws, confirmed = {}, {}, {}
    for name in names:
        by_split = [found[name].get(split) for split in splits]
        size = next(arm.confirm_test.size for arm in by_split if arm)
        estimates[name] = np.array([arm.test_error if arm else np.nan for arm in by_split])
        confirmed[name] = np.array([arm.confirm_test if arm else np.full(size, np.nan) for arm in by_split])
        redraw = randomness[groups[name]].procedure if asked.searches_resampled else randomness[groups[name]].seeds
        draws[name] = np.stack([redraw(arm) if arm else np.full(num_draws, np.nan) for arm in by_split], axis=1)
    generator = np.random.default_rng((seed, len(names) + 1))
    normal = generator.standard_normal((num_draws, len(splits)))
    # Student's t with S degrees of freedom, not S - 1: two splits would give Cauchy draws, and an interval that says
    # nothing. The price is coverage where the splits differ much more than an arm's error within one.
    scale = t_scale(generator.random(num_draws), len(splits) + 1)
    return Resamples(splits, estimates, draws, confirmed, normal * scale[:, None])


@dataclass(frozen=True)
class _Randomness:
    """The draws that a group of arms shares: which points are there, and the multipliers of seeds."""

    present: NDArray[np.bool_]
    search: FloatArray
    confirm: FloatArray
    uniform: FloatArray

    @classmethod
    def draw(
        cls, arms: list[SearchedArm], num_draws: int, generator: np.random.Generator, *, resample_points: bool
    ) -> _Randomness:
        numbers = np.unique(np.concatenate([arm.points for arm in arms]))
        numbers = numbers[numbers >= 0]
        present = np.zeros((num_draws, int(numbers.max(initial=-1)) + 1), dtype=bool)
        if numbers.size and resample_points:
            drawn = numbers[generator.integers(0, numbers.size, (num_draws, numbers.size))]
            np.put_along_axis(present, drawn, True, axis=1)
        else:
            present[:] = True
        return cls(
            present,
            generator.standard_normal((num_draws, arms[0].validation.shape[1])),
            generator.standard_normal((num_draws, arms[0].confirm_test.size)),
            generator.random(num_draws),
        )

    def seeds(self, arm: SearchedArm) -> FloatArray:
        """Test error of the selected trial with other confirm seeds; nan if it has one, whose noise is not known."""
        num_seeds = int(np.isfinite(arm.confirm_test).sum())
        if num_seeds < 2:
            return np.full(self.uniform.shape, np.nan)
        mean, deviation = _deviations(arm.confirm_test[None], self.confirm)
        return np.asarray(mean[0] + t_scale(self.uniform, num_seeds) * deviation[:, 0])

    def procedure(self, arm: SearchedArm) -> FloatArray:
        """Test error of whatever other points and seeds would have selected."""
        own = self.seeds(arm)
        validation, moved = _deviations(arm.validation, self.search)
        if len(arm.trial_ids) < 2 or not np.isfinite(validation[arm.confirmed]):
            return own
        present = self.present[:, arm.points]
        present[~present.any(axis=1)] = True
        scores = np.where(present & np.isfinite(validation), validation + moved, np.inf)
        # the first of equal ones in this order is the one that the search would take
        order = np.argsort(arm.tie, kind="stable")
        chosen = order[scores[:, order].argmin(axis=1)]
        test, moved = _deviations(arm.test, self.search)
        other = (test + moved)[np.arange(chosen.size), chosen]
        return np.where(chosen == arm.confirmed, own, other)


def _deviations(values: FloatArray, multipliers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Row means of (rows, seeds), nan ignored, and their multiplier-bootstrap deviations, (num_draws, rows)."""
    known = np.isfinite(values)
    counts = known.sum(axis=1)
    means = np.where(known, values, 0.0).sum(axis=1) / np.where(counts, counts, np.nan)
    residuals = np.where(known, values - means[:, None], 0.0) / np.sqrt(np.maximum(counts * (counts - 1), 1))[:, None]
    return means, multipliers @ residuals.T

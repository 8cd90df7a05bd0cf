"""The two-level bootstrap: what is drawn again, and that its intervals cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.asked import read_asked
from analysis.old_design.comparisons import Contrast, compare_seeds, contrast
from analysis.old_design.two_level_bootstrap import Resamples, resample
from tests.analysis.old_design.fabrication import Arm, Procedure, fabricate

TWO = {"reference": Arm(0.05, "reference"), "other": Arm(0.045, best=0.4)}


def resampled(arms: dict[str, Arm], procedure: Procedure, seed: int = 0, num_draws: int = 500) -> Resamples:
    frames = fabricate(arms, procedure, seed)
    return resample(frames.members, read_asked(frames.space), num_draws, seed)


def between(resamples: Resamples, first: str, second: str) -> Contrast:
    found = contrast(resamples, first, second)
    assert found is not None
    return found


@pytest.mark.parametrize("splits", [(0,), (0, 1, 2)])
def test_an_arm_that_is_the_reference_differs_by_exactly_zero(splits: tuple[int, ...]) -> None:
    arms = {"reference": Arm(0.05, "reference"), "null": Arm(0.05, like="reference")}
    found = between(resampled(arms, Procedure(split_seeds=splits)), "null", "reference")
    assert (found.effect.low, found.estimate, found.effect.high, found.effect.p) == (0.0, 0.0, 0.0, 1.0)


def test_the_placebo_has_draws_of_its_own() -> None:
    arms = {"reference": Arm(0.05, "reference"), "placebo": Arm(0.05, "placebo", like="reference")}
    effect = between(resampled(arms, Procedure()), "placebo", "reference").effect
    assert effect.low < 0 < effect.high


def test_without_a_search_the_headline_interval_is_students_t() -> None:
    resamples = resampled(TWO, Procedure(num_trials=1), num_draws=20_000)
    one, two = resamples.confirmed["other"][0], resamples.confirmed["reference"][0]
    expected = stats.ttest_rel(one, two).confidence_interval()
    effect = between(resamples, "other", "reference").effect
    assert (effect.low, effect.high) == pytest.approx(tuple(expected), abs=0.02 * (expected.high - expected.low))


def test_the_search_widens_the_interval() -> None:
    frames = fabricate(TWO, Procedure())
    asked = read_asked(frames.space)
    resamples = resample(frames.members, asked)
    seeds = compare_seeds(resamples, asked, "other", "reference")
    headline = between(resamples, "other", "reference").effect
    assert seeds is not None
    assert seeds.test == "paired t"
    assert headline.high - headline.low > 1.3 * (seeds.effect.high - seeds.effect.low)


def test_tpe_redraws_seeds_only() -> None:
    sobol, tpe = (resampled(TWO, Procedure(sampler=name)) for name in ("sobol", "tpe"))
    assert tpe.draws["other"].std() < 0.7 * sobol.draws["other"].std()


def test_a_grid_is_reselected_but_not_resampled() -> None:
    quiet = Procedure(sampler="grid", seed_std=0.0, curvature=1.0, trial_std=0.0)
    assert resampled(TWO, quiet).draws["other"].std() == pytest.approx(0.0, abs=1e-12)
    assert resampled(TWO, replace(quiet, sampler="sobol")).draws["other"].std() > 1e-4


def test_what_a_sampler_declares_is_what_counts() -> None:
    space = fabricate(TWO, Procedure()).space
    asked = {
        name: read_asked({**space, "sampler": "mine", **said})
        for name, said in {
            "says nothing": {},
            "learns": {"exchangeable": False},
            "enumerates": {"enumerates": True},
        }.items()
    }
    assert [asked.searches_resampled for asked in asked.values()] == [True, False, True]
    assert [asked.enumerates for asked in asked.values()] == [False, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("splits", [(0,), (0, 1, 2)])
def test_headline_interval_covers_the_procedures_effect(splits: tuple[int, ...]) -> None:
    """40 searches, two arms: 0.95 minus 2 standard errors or more cover their mean effect; seeds alone far fewer."""
    headline, seeds = [], []
    arms = {**TWO, "placebo": Arm(0.05, "placebo")}
    procedure = Procedure(split_seeds=splits, split_std=0.001 if len(splits) > 1 else 0.0)
    for seed in range(40):
        frames = fabricate(arms, procedure, 100 + seed)
        asked = read_asked(frames.space)
        resamples = resample(frames.members, asked, 400, seed)
        for arm in ("other", "placebo"):
            alone = compare_seeds(resamples, asked, arm, "reference")
            assert alone is not None
            headline.append((arm, *between(resamples, arm, "reference").effect))
            seeds.append((arm, *alone.effect))
    share_headline, share_seeds = coverage(headline), coverage(seeds)
    assert share_headline >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 80)
    assert share_seeds < share_headline - 0.1


def coverage(effects: list[tuple[str, float, float, float, float]]) -> float:
    """Share of intervals that hold the arm's mean effect over all searches: what the procedure gives on average."""
    table = pd.DataFrame(effects, columns=["arm", "estimate", "low", "high", "p"])
    truth = table.groupby("arm")["estimate"].transform("mean")
    return float(((table["low"] <= truth) & (truth <= table["high"])).mean())

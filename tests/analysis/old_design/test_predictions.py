from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.asked import Asked, read_asked
from analysis.old_design.predictions import (
    SplitPredictions,
    compare_predictions,
    majority,
    mcnemar,
    sampling_error,
    split_factor,
    two_way_draws,
)
from analysis.old_design.results import OldResults
from tests.analysis.old_design.fabrication import Arm, Procedure, space


def asked(splits: tuple[int, ...] = (0,), own_test_split: bool = False) -> Asked:
    arms = {"reference": Arm(0.05, "reference"), "arm": Arm(0.05), "placebo": Arm(0.05, "placebo")}
    return replace(read_asked(space(arms, Procedure(split_seeds=splits))), own_test_split=own_test_split)


def drawn(error: float, seed: int, num_test: int = 500, num_members: int = 8) -> SplitPredictions:
    generator = np.random.default_rng(seed)
    wrong = generator.random((num_members, num_test)) < error
    return SplitPredictions(np.arange(2000, 2000 + num_members), wrong.astype(np.int64), np.zeros(num_test, np.int64))


def test_mcnemar_is_the_binomial_test_of_the_discordant_examples() -> None:
    first, second = np.zeros(40, bool), np.zeros(40, bool)
    first[:9], second[8:12] = True, True
    assert mcnemar(first, second) == pytest.approx(stats.binomtest(3, 11).pvalue)
    assert mcnemar(first, first) == 1.0


def test_majority_by_hand() -> None:
    assert majority(np.array([[0, 1, 2], [0, 2, 1], [3, 2, 0]])).tolist() == [0, 2, 0]


def test_two_way_interval_of_equal_predictions_is_zero_and_covers_examples_otherwise() -> None:
    same = drawn(0.05, 1)
    predictions = {"reference": {0: same}, "arm": {0: same}, "placebo": {0: drawn(0.05, 2)}}
    draws = two_way_draws(predictions, asked())
    found = compare_predictions(predictions, draws, "arm", "reference")
    assert (found.two_way.low, found.two_way.high, found.mcnemar_p, found.disagreement) == (0.0, 0.0, 1.0, 0.0)
    other = compare_predictions(predictions, draws, "placebo", "reference")
    assert other.two_way.low < 0 < other.two_way.high
    assert other.disagreement == pytest.approx(np.mean(same.classes != predictions["placebo"][0].classes))


def test_two_way_width_is_that_of_examples_where_seeds_agree() -> None:
    """With members that agree, the standard error is that of a difference over examples: std / sqrt(num_test)."""
    one, two = (np.tile(drawn(0.1, seed, 2000, 1).classes, (8, 1)) for seed in (1, 2))
    seeds, targets = np.arange(8), np.zeros(2000, np.int64)
    predictions = {
        "reference": {0: SplitPredictions(seeds, one, targets)},
        "arm": {0: SplitPredictions(seeds, two, targets)},
    }
    draws = two_way_draws(predictions, asked())
    expected = np.std(two[0] - one[0].astype(float)) / np.sqrt(2000)
    assert np.std(draws["arm"][0] - draws["reference"][0]) == pytest.approx(expected, rel=0.1)
    assert sampling_error(predictions["arm"], predictions["reference"], asked()) == pytest.approx(expected, rel=1e-3)


def test_test_sets_that_overlap_count_less_than_new_ones() -> None:
    assert split_factor(asked((0,)), 1) == 1.0
    assert split_factor(asked(own_test_split=True), 3) == pytest.approx(1.0)
    assert split_factor(asked(), 3) == pytest.approx(1 / 3 + 2 / 3 * 997 / 1797)


def test_predictions_of_confirmed_members_are_read(stored: OldResults) -> None:
    found = stored.predictions["sam"][1]
    assert found.classes.shape == (8, 997)
    row = stored.arms.set_index("arm").loc["sam"]
    assert row["two_way_low"] < 0 > row["two_way_high"]
    assert found.errors.mean() == pytest.approx(row["test_error"], abs=0.02)

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.old_design.results import OldResults
from analysis.sharpness import at_common_loss, rank_correlation


def test_rank_correlation_is_spearmans() -> None:
    generator = np.random.default_rng(0)
    x, y, z = generator.random((3, 30))
    found = rank_correlation(x, y, z)
    assert found.with_gap == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.with_train_loss == pytest.approx(stats.spearmanr(x, z).statistic)


def test_partial_correlation_is_that_of_the_residuals_of_ranks() -> None:
    generator = np.random.default_rng(1)
    loss = generator.random(200)
    sharpness, gap = loss + 0.3 * generator.random(200), loss + 0.3 * generator.random(200)
    ranks = np.array([stats.rankdata(v) for v in (sharpness, gap, loss)])
    residuals = [r - np.polyval(np.polyfit(ranks[2], r, 1), ranks[2]) for r in ranks[:2]]
    found = rank_correlation(sharpness, gap, loss)
    assert found.partial == pytest.approx(np.corrcoef(residuals)[0, 1])
    assert found.with_gap > 0.8 > abs(found.partial)


def test_correlations_need_points() -> None:
    assert np.isnan(rank_correlation(np.arange(3.0), np.arange(3.0), np.arange(3.0)).with_gap)
    assert np.isnan(rank_correlation(np.ones(9), np.arange(9.0), np.arange(9.0)).with_gap)


def test_correlations_are_over_arm_means_and_over_members(results: OldResults) -> None:
    table = results.correlations.set_index(["value", "level"])
    assert table.loc[("lambda_max", "arms"), "n"] == 18
    assert table.loc[("lambda_max", "members"), "n"] == 144


def test_arms_at_the_smallest_loss_that_all_reached() -> None:
    def row(trial: str, name: str, value: float) -> dict[str, object]:
        return {"trial_id": trial, "seed": 2000, "step": 1, "name": name, "value": value}

    history = pd.DataFrame(
        [
            *(row("a", "lambda_max@0.3", 9.0), row("a", "lambda_max@0.1", 2.0), row("a", "lambda_max@0.03", 1.0)),
            *(row("b", "lambda_max@0.3", 8.0), row("b", "lambda_max@0.1", 3.0), row("b", "train_loss", 0.05)),
            *(row("c", "lambda_max@0.1", 5.0), row("never confirmed", "lambda_max@0.1", 99.0)),
        ]
    )
    confirmed = pd.DataFrame({"trial_id": ["a", "b", "c", "d"], "seed": 2000, "arm": ["one", "two", "two", "two"]})
    found = at_common_loss(history, confirmed).set_index("arm")
    assert found["threshold"].tolist() == [0.1, 0.1]
    assert found["value"].to_dict() == {"one": 2.0, "two": 4.0}
    assert found["n"].to_dict() == {"one": 1, "two": 2}
    assert found["num_members"].to_dict() == {"one": 1, "two": 3}


def test_no_history_no_common_loss(results: OldResults) -> None:
    assert at_common_loss(results.history, results.confirmed).empty

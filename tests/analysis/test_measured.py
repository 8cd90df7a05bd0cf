"""Sharpness, gap and train loss, paired by block; correlations over blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.results import Results
from analysis.sharpness import rank_correlation, rank_correlations
from tests.analysis.fabrication import fabricate


@pytest.fixture(scope="module")
def results() -> Results:
    return Results(fabricate())


def logs(results: Results, arm: str, column: str) -> np.ndarray:
    own = results.members.query(f"stage == 'confirm' and arm == '{arm}'").dropna(subset=[column])
    return np.log(own[column].astype(float)).groupby(own["block"]).mean().to_numpy()


@pytest.mark.parametrize(("column", "n"), [("lambda_max", 8), ("train_loss", 10)])
def test_positive_values_are_compared_as_ratios_over_the_blocks_that_were_measured(
    results: Results, column: str, n: int
) -> None:
    d = logs(results, "sam", column) - logs(results, "large_batch", column)
    row = results.measured.set_index(["value", "arm"]).loc[(column, "sam")]
    half = stats.t.ppf(1 - 0.025 / 5, n - 1) * d.std(ddof=1) / n**0.5
    assert (row["n"], row["is_ratio"]) == (n, True)
    assert row[["difference", "low", "high"]].astype(float).tolist() == pytest.approx(
        np.exp([d.mean(), d.mean() - half, d.mean() + half]).tolist()
    )


def test_gaps_are_compared_as_differences(results: Results) -> None:
    own, other = (
        results.members.query(f"stage == 'confirm' and arm == '{arm}'").groupby("block")["generalization_gap"].mean()
        for arm in ("sam", "large_batch")
    )
    row = results.measured.set_index(["value", "arm"]).loc[("generalization_gap", "sam")]
    assert not row["is_ratio"]
    assert row["difference"] == pytest.approx((own - other).mean())


def test_correlations_are_over_the_means_of_arms_in_the_measured_blocks(results: Results) -> None:
    measured = results.confirmed[results.confirmed["lambda_max"].notna()]
    means = measured.groupby("arm")[["lambda_max", "generalization_gap", "train_loss"]].mean()
    row = results.correlations.set_index("value").loc["lambda_max"]
    expected = stats.spearmanr(means["lambda_max"], means["generalization_gap"]).statistic
    assert row["with_gap"] == pytest.approx(expected)
    assert (row["n"], row["num_blocks"]) == (6, 8)
    assert row["with_gap_low"] <= row["with_gap"] <= row["with_gap_high"]


def test_many_correlations_at_once_are_those_of_one_by_one() -> None:
    tables = np.random.default_rng(0).random((5, 3, 12))
    tables[1, 0] = tables[1, 0].round(1)
    for table, found in zip(tables, rank_correlations(tables), strict=True):
        x, y, z = (stats.rankdata(values) for values in table)
        with_gap, with_loss = stats.pearsonr(x, y).statistic, stats.pearsonr(x, z).statistic
        residuals = [r - np.polyval(np.polyfit(z, r, 1), z) for r in (x, y)]
        assert found.tolist() == pytest.approx([with_gap, with_loss, np.corrcoef(residuals)[0, 1]])
        assert rank_correlation(*table).n == 12

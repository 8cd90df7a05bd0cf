"""How well sharpness orders generalization, against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from analysis.rank_agreement import granulated, partial_tau, rank_agreement, tau

GRID = pd.DataFrame(
    {
        "arm": ["a", "a", "b", "b"],
        "batch_size": [32, 64, 32, 64],
        "lr": [0.1, 0.1, 0.2, 0.2],
        "sharp": [1.0, 2.0, 4.0, 3.0],
        "generalization_gap": [0.1, 0.2, 0.3, 0.4],
        "train_loss": [0.4, 0.3, 0.2, 0.1],
    }
)


@pytest.mark.parametrize("seed", range(3))
def test_tau_is_scipys_with_ties(seed: int) -> None:
    x, y = np.random.default_rng(seed).integers(0, 6, (2, 25)).astype(float)
    assert tau(x, y) == pytest.approx(kendalltau(x, y).statistic)


def test_partial_tau_takes_out_what_the_loss_explains() -> None:
    x, y, z = np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 3, 2, 5, 4]), np.array([2.0, 1, 3, 5, 4])
    xy, xz, yz = kendalltau(x, y).statistic, kendalltau(x, z).statistic, kendalltau(y, z).statistic
    assert partial_tau(x, y, z) == pytest.approx((xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2)))
    assert math.isnan(partial_tau(x, y, x))


def test_psi_is_the_mean_over_what_else_was_set() -> None:
    # along batch_size: +1 at the lower rate, -1 at the higher; along lr: +1 at both batch sizes
    assert granulated(GRID, "sharp", "batch_size", ["batch_size", "lr"]) == 0
    assert granulated(GRID, "sharp", "lr", ["batch_size", "lr"]) == 1


def test_a_row_has_all_of_them() -> None:
    row = rank_agreement(GRID, ["sharp"], ["batch_size", "lr"]).iloc[0]
    assert row["overall"] == pytest.approx(kendalltau(GRID["sharp"], GRID["generalization_gap"]).statistic)
    assert row["granulated"] == 0.5
    assert row["axes"] == "batch_size, lr"
    assert math.isnan(row["within_arm"])
    assert math.isnan(row["partial"])  # the loss orders the gap exactly


def test_within_arms_each_counts_alike() -> None:
    two = pd.concat([GRID.assign(arm="up", sharp=[1, 2, 3, 4.0]), GRID.assign(arm="down", sharp=[4, 3, 2, 1.0])])
    assert rank_agreement(two, ["sharp"], []).iloc[0]["within_arm"] == 0

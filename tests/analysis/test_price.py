"""What a point of error costs, and the front, by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from analysis.importance import importances
from analysis.price import on_front, pareto, prices
from analysis.results import Results
from tests.analysis.fabrication import ARMS, Arm, Procedure, fabricate

TABLE = pd.DataFrame(
    {
        "arm": ["reference", "better", "unsure", "cheaper", "empty"],
        "role": ["reference", "arm", "arm", "arm", "arm"],
        "n": [4, 4, 4, 4, 0],
        "test_error": [0.05, 0.04, 0.045, 0.048, math.nan],
        "difference": [math.nan, -0.01, -0.005, -0.002, math.nan],
        "difference_low": [math.nan, -0.02, -0.02, -0.004, math.nan],
        "difference_high": [math.nan, -0.005, 0.01, -0.001, math.nan],
        "difference_recipe_low": [math.nan] * 5,
        "difference_recipe_high": [math.nan] * 5,
        "gradient_evaluations": [100.0, 300.0, 200.0, 80.0, math.nan],
        "wall_s": [1.0, 2.5, 2.0, 1.0, math.nan],
    }
)


def test_a_point_costs_what_is_spent_more_over_what_is_gained() -> None:
    found = prices(TABLE, "reference").set_index("arm")
    assert list(found.index) == ["reference", "better", "unsure", "cheaper"]
    better = found.loc["better"]
    assert better["evaluations_per_point"] == pytest.approx(200)
    assert (better["evaluations_low"], better["evaluations_high"]) == pytest.approx((100, 400))
    assert better["seconds_per_point"] == pytest.approx(1.5)
    assert better["evaluations_ratio"] == 3
    assert math.isnan(found.loc["unsure", "evaluations_per_point"])
    assert found.loc["cheaper", "evaluations_per_point"] == pytest.approx(-100)
    assert found.loc["cheaper", "evaluations_low"] < found.loc["cheaper", "evaluations_high"] < 0


def test_without_a_reference_there_are_no_prices() -> None:
    assert prices(TABLE, None).empty


def test_the_front_is_what_none_beats_in_all() -> None:
    table = np.random.default_rng(0).integers(0, 5, (30, 3)).astype(float)
    table[7, 1] = math.nan
    found = on_front(table)
    for i, row in enumerate(table):
        beaten = any(
            all(o <= r for o, r in zip(other, row, strict=True)) and any(o < r for o, r in zip(other, row, strict=True))
            for other in table
        )
        assert found[i] == (not beaten and bool(np.isfinite(row).all()))


def test_arms_without_results_are_on_no_front() -> None:
    found = pareto(TABLE, ["test_error", "gradient_evaluations"]).set_index("arm")["on_front"]
    assert found.to_dict() == {"reference": False, "better": True, "unsure": True, "cheaper": True}


def test_the_dimension_that_the_loss_follows_matters_and_the_other_does_not() -> None:
    domain = {"low": 0.05, "high": 0.5, "log": True}
    arms = {"large_batch": ARMS["large_batch"], "sam": Arm(0.04, remedies=("sam",), dimensions={"sam.rho": domain})}
    results = Results(fabricate(arms, Procedure(num_samples=96, curvature=1.0)))
    members = results.members.copy()
    searched = members["stage"] == "search"
    members.loc[searched, "sam.rho"] = np.random.default_rng(0).uniform(0.05, 0.5, int(searched.sum()))
    found = importances(members, results.asked).set_index("dimension")
    assert set(found["arm"]) == {"sam"}
    assert found.loc["eta_over_b", "importance"] > 3 * found.loc["sam.rho", "importance"]
    assert found.loc["eta_over_b", "importance"] > 3 * found.loc["eta_over_b", "noise"]
    assert found["importance"].sum() + found["noise"].iloc[0] == pytest.approx(1)

"""Dimensions that are not always there, in frames, tables and figures."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from analysis.adequacy import edges
from analysis.chart_of_configurations import configurations_chart
from analysis.decisions import unit_points
from analysis.frames import without_absent
from analysis.importance import importances
from analysis.results import Results
from tests.analysis.fabrication import ARMS, Arm, Procedure, fabricate

ONLY = {"name": "remedy", "values": ["sam"]}
DIMENSIONS = {
    "remedy": {"values": ["sam", "none"]},
    "sam.rho": {"low": 0.04, "high": 0.36, "log": True, "only": ONLY},
}


@pytest.fixture
def results() -> Results:
    """An arm of one of two: its loss is that of the remedy, and in SAM that of rho."""
    arms = {"large_batch": ARMS["large_batch"], "one_of": Arm(0.04, remedies=("sam or none",), dimensions=DIMENSIONS)}
    frames = fabricate(arms, Procedure(num_samples=60, curvature=0.0))
    members, draw = frames.members, np.random.default_rng(0)
    own = members["arm"] == "one_of"
    by_configuration = {}
    for name in members.loc[own, "configuration_id"].unique():
        remedy = ("sam", "none")[len(by_configuration) % 2]
        by_configuration[name] = (remedy, draw.uniform(0.04, 0.36) if remedy == "sam" else math.nan)
    known = members["configuration_id"].map(lambda name: by_configuration.get(name, (None, math.nan)))
    members["remedy"], members["sam.rho"] = known.str[0], known.str[1].astype(float)
    there = own & (members["stage"] == "search")
    noise = draw.uniform(0.99, 1.01, len(members))
    loss = np.where(members["remedy"] == "sam", 0.2 + members["sam.rho"].fillna(0.0), 3.0) * noise
    members.loc[there, "validation_loss"] = loss[there]
    return Results(dataclasses.replace(frames, roles={**frames.roles, "remedy": "setting", "sam.rho": "setting"}))


def test_values_of_what_is_not_there_are_null() -> None:
    """An optimizer has a momentum, searched or not: in an arm's rows it is there where it was searched."""
    rows = pd.DataFrame(
        {
            "arm": ["a", "a", "b"],
            "optimizer": ["SGD", "Adam", "Adam"],
            "momentum": [0.5, 0.0, 0.0],
            "lr": [0.1, 0.2, 0.3],
        }
    )
    domain = {"low": 0.0, "high": 0.9, "only": {"name": "optimizer", "values": ["SGD"]}}
    space = {"arms": [{"name": "a", "dimensions": {"momentum": domain}}, {"name": "b"}]}
    found = without_absent(rows, space)
    assert found["momentum"].isna().tolist() == [False, True, False]
    assert found.drop(columns="momentum").equals(rows.drop(columns="momentum"))
    assert without_absent(rows, {"arms": [{"name": "a", "dimensions": {"lr": {"low": 0.0, "high": 1.0}}}]}) is rows


def test_importances_are_of_all_configurations(results: Results) -> None:
    found = importances(results.members, results.asked).set_index("dimension")
    assert set(found["n"]) == {60}, "those without a rho count as well"
    assert found.loc["remedy", "importance"] > 0.8
    assert found.loc["remedy", "importance"] > 5 * found.loc["remedy", "noise"]
    assert found.loc["sam.rho", "importance"] > found.loc["sam.rho", "noise"] / 2


def test_what_is_not_there_lies_in_the_middle_of_the_cube(results: Results) -> None:
    rows = results.members[(results.members["arm"] == "one_of") & (results.members["stage"] == "search")]
    points = unit_points(rows, results.asked.arm("one_of"))
    absent = (rows["remedy"] == "none").to_numpy()
    assert set(points[absent, -1]) == {0.5}
    expected = np.log(rows["sam.rho"].to_numpy()[~absent] / 0.04) / np.log(0.36 / 0.04)
    assert points[~absent, -1] == pytest.approx(expected)


def test_a_line_of_the_chart_has_no_place_where_it_has_no_value(results: Results) -> None:
    (chart,) = configurations_chart(results, results.configurations)
    arm = next(arm for arm in chart.data["arms"] if arm["arm"] == "one_of")
    names = [axis["name"] for axis in arm["axes"]]
    remedy, rho = names.index("remedy"), names.index("sam.rho")
    assert all((row["values"][rho] is None) == (row["values"][remedy] == "none") for row in arm["rows"])
    chosen = next(row for row in arm["rows"] if row["selected"])
    assert (arm["fits"][rho] == []) == (chosen["values"][rho] is None)


def test_no_edge_is_said_of_what_the_selected_configuration_does_not_have(results: Results) -> None:
    rows = results.members[(results.members["arm"] == "one_of") & (results.members["stage"] == "search")]
    nothing = rows.loc[rows["remedy"] == "none", "configuration_id"].iloc[0]
    lowest = rows.loc[rows["sam.rho"].idxmin(), "configuration_id"]
    arm = results.asked.arm("one_of")
    assert not [line for line in edges(rows, arm, nothing) if "sam.rho" in line]
    assert [line for line in edges(rows, arm, lowest) if "sam.rho" in line and "the lowest tried" in line]

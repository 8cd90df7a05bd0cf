"""Axes of the papers' figures."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.plots.choice import Quantity
from analysis.plots.paper import scale_of, value_axis


@pytest.mark.parametrize(
    ("column", "values", "scale"),
    [
        ("lambda_max", [0.1, 10.0], "log"),
        ("lambda_max", [1.0, 10.0], "linear"),
        ("lambda_max", [-0.1, 10.0], "linear"),
        ("generalization_gap", [0.1, 10.0], "linear"),
    ],
)
def test_values_that_span_decades_are_on_a_logarithmic_axis_unless_they_are_a_gap(
    column: str, values: list[float], scale: str
) -> None:
    axes = Figure().subplots()
    value_axis(axes, column, np.array(values), log=scale_of(Quantity(column, column, column, 1.0)))
    assert axes.get_yscale() == scale
    assert axes.get_ylabel().endswith("(log scale)") == (scale == "log")

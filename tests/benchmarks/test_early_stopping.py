"""Successive halving as the benchmark plays it: what it costs, and what is left."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.early_stopping import EPOCHS, LOOKS, Halving


@pytest.mark.parametrize(
    ("design", "number", "epochs"),
    [
        (Halving(1, ()), 12, 240),
        (Halving(2, (10,)), 16, 16 * 10 + 8 * 10),
        (Halving(2, (5, 10)), 16, 16 * 5 + 8 * 5 + 4 * 10),
        (Halving(3, (2, 7)), 18, 18 * 2 + 6 * 5 + 2 * 13),
    ],
)
def test_what_a_design_trains_is_counted_and_never_more_than_there_is(design, number, epochs):
    assert design.cost(number) == epochs
    for whole in (8, 24):
        points = design.points(whole)
        assert design.cost(points) <= whole * EPOCHS < design.cost(points + 1)


def test_the_lowest_at_each_look_go_on():
    """Four points: the second is best at 5, the first at the end, and the last loses all its looks."""
    curves = np.full((4, len(LOOKS)), 9.0)
    curves[:, LOOKS.index(5)] = 3.0, 1.0, 2.0, 4.0
    curves[:, LOOKS.index(10)] = 1.0, 2.0, 3.0, 4.0
    curves[:, -1] = 0.1, 0.3, 0.2, 0.0
    assert Halving(1, ()).survivors(curves).tolist() == [3, 0, 2, 1]
    assert Halving(2, (5,)).survivors(curves).tolist() == [2, 1]
    assert Halving(2, (5, 10)).survivors(curves).tolist() == [1]
    assert Halving(2, (10,)).survivors(curves).tolist() == [0, 1]

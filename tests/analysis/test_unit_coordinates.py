"""Where values lie in the unit cube of an arm's dimensions."""

from __future__ import annotations

import pytest

from analysis.decisions import unit_coordinate

LOG = {"low": 1e-4, "high": 1.0, "log": True}


@pytest.mark.parametrize(
    ("value", "domain", "expected"),
    [
        (1e-2, LOG, 0.5),
        (2.0, {"low": 0.0, "high": 8.0}, 0.25),
        (50, {"values": [20, 50, 100]}, 0.5),
        (0.0, LOG, 0.0),
        (3.0, LOG, 1.0),
    ],
)
def test_a_value_lies_in_its_domain_or_at_the_end_that_is_nearest(value, domain, expected):
    assert unit_coordinate(value, domain) == pytest.approx(expected)

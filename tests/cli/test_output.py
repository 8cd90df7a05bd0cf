"""Numbers as people read them."""

from __future__ import annotations

import pytest

from tune_lb.cli.output import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.2, "under 1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3_599, "59 min 59 s"),
        (7_500, "2 h 05 min"),
        (47 * 3_600 + 59 * 60, "47 h 59 min"),
        (48 * 3_600, "2 days 0 h"),
        (42_642_984, "493 days 13 h"),
    ],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text

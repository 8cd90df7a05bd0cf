"""A time is divided like members: the largest comparison that fits into it."""

from __future__ import annotations

import pytest

from tests.space.test_space import space
from tune_lb.errors import RequestError
from tune_lb.search.expected import expected_members
from tune_lb.space.checks import checked_designs
from tune_lb.tuning.cost_estimate import ArmEstimate, Estimate
from tune_lb.tuning.request import RAY_START_S
from tune_lb.tuning.time_budget import members_that_fit, seconds_of, wall_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("30 min", 1800), ("1.5h", 5400), ("2h30m", 9000), ("1d", 86400), ("1h 5s", 3605)],
)
def test_times_are_read(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", "h", "", "-5m", "0s", "5 weeks", "1h later"])
def test_what_is_no_time_is_one_line(text):
    with pytest.raises(RequestError, match="give a time with its unit, as in 90s, 30m, 2h or 2h30m") as error:
        seconds_of(text)
    assert len(error.value.problems) == 1


def estimate(of, *, each_s=2.0, looking_s=3.0, concurrency=2):
    """Return the estimate of a space of which a member takes so long and the looks of an arm so long."""
    rows = []
    for design in checked_designs(of):
        number = sum(expected_members(of, design).values())
        rows.append(ArmEstimate(design.name, number, 10, 0.1, number * each_s + looking_s, 0.1, looking_s, (1, 1, 1)))
    total = sum(row.core_s for row in rows)
    return Estimate(rows, total, RAY_START_S + total / concurrency, concurrency, 0, 0)


def test_an_estimate_is_that_of_its_own_numbers():
    of = space(members_per_arm=78)
    found = estimate(of)
    assert wall_s(of, found, 78) == pytest.approx(found.wall_s, rel=1e-12)


def test_the_largest_that_fits_is_found_whatever_was_timed():
    of = space(num_samples=3, decide_blocks=2, confirm_blocks=8)
    found = estimate(of)
    # six arms of their own and two derived ones, which are only confirmed: 40 members are 16 + 3 * 4 + 12
    searched, derived = 6, 2
    assert len(checked_designs(of)) == searched + derived
    work_s = 2.0 * (searched * 40 + derived * 12) + (searched + derived) * 3.0
    budget_s = RAY_START_S + work_s / 2
    assert members_that_fit(of, found, budget_s) == 40
    assert members_that_fit(of, found, budget_s - 0.01) == 39
    assert members_that_fit(of, found, 10 * budget_s) > 300


def test_what_does_not_fit_is_said_with_what_is_needed():
    with pytest.raises(RequestError, match=r"the smallest comparison, 6 members of each arm, takes about \d+ s here"):
        members_that_fit(space(), estimate(space()), 20.0)

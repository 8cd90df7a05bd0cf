"""The largest comparison that fits into a time: from the cost of a member of each arm, as it was timed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tune_lb.errors import RequestError
from tune_lb.search.expected import expected_members, expected_trainings
from tune_lb.space.checks import checked_designs
from tune_lb.space.division import FEWEST
from tune_lb.space.space import Space
from tune_lb.tuning.cost_estimate import Estimate
from tune_lb.tuning.request import RAY_START_S

MOST = 1000
"""Members of an arm beyond which a time is not used up: what is left to be won then is the search's, not more blocks'."""

UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


NUMBERS = ("num_samples", "candidates", "decide_blocks", "confirm_blocks", "block_seeds")
"""What members_per_arm is divided into."""


def asked_with_numbers(asked: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return what a search was asked, with the numbers of a space in place of members_per_arm, and of those given before."""
    options = {key: value for key, value in asked.get("options", {}).items() if key != "members_per_arm"}
    return {**asked, "options": {**options, **{name: getattr(space, name) for name in NUMBERS}}}


def seconds_of(text: str, option: str = "--time-budget") -> float:
    """Return the seconds of a duration: 90s, 30m, 1.5h, 2h30m, 1d. Raises RequestError, naming the option, for what is none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", text.strip())
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != re.sub(r"\s", "", text) or not total > 0:
        raise RequestError(f"{option} {text}: give a time with its unit, as in 90s, 30m, 2h or 2h30m")
    return total


def members_that_fit(space: Space, estimate: Estimate, budget_s: float) -> int:
    """Return the largest number of members of an arm with which the search is expected to take no longer than the budget.

    estimate: of the space with any numbers. Raises RequestError where the smallest comparison does not fit.
    """
    if wall_s(space, estimate, FEWEST) > budget_s:
        least = wall_s(space, estimate, FEWEST)
        raise RequestError(
            f"--time-budget: the smallest comparison, {FEWEST} members of each arm, takes about {least:.0f} s here: allow that, or "
            "take a smaller budget of epochs, fewer arms or more workers"
        )
    low, high = FEWEST, MOST + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if wall_s(space, estimate, middle) <= budget_s else (low, middle)
    return low


def wall_s(space: Space, estimate: Estimate, members: int) -> float:
    """Return what a search with so many members of an arm takes, from the estimate of one with other numbers."""
    divided = space.overridden([("members_per_arm", members)])
    costs = {row.arm: row for row in estimate.arms}
    measured = min(divided.most_blocks, space.measured_blocks) / max(1, min(space.most_blocks, space.measured_blocks))
    total = 0.0
    for design in checked_designs(divided):
        row = costs[design.name]
        number = sum(expected_members(divided, design).values())
        # what is looked at hangs on the confirm blocks, or on all members
        looks = number / max(1, row.members) if space.metrics_on == "all" else measured
        total += expected_trainings(divided, design) * row.member_s + looks * row.looking_s
    return RAY_START_S + total / estimate.concurrency

"""The score of a member: what a search selects by, and what decides between configurations that are equal in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SELECT_BY = ("error", "loss")


class Score(NamedTuple):
    """Lower is better in both.

    value: validation error, or validation loss where the space selects by it. tie: the other of the two, which decides between
    configurations of equal mean value.
    """

    value: float
    tie: float = 0.0


def score(given: float | Score | tuple[float, float] | list[float]) -> Score:
    """Return a score as it is, a number as the score of that value, a pair (as JSON has it) as a score."""
    return Score(float(given)) if isinstance(given, int | float) else Score(*map(float, given))


def score_of(row: Mapping[str, Any], select_by: str = "error") -> Score:
    """Return what a member counts for in the search, from its row.

    0 where there is no validation part: nothing is selected then, and any number does. A diverged member has no loss: its is
    infinite.
    """
    missing = math.inf if row.get("status") == "diverged" else 0.0
    error, loss = (
        missing if row.get(name) is None else float(row[name]) for name in ("validation_error", "validation_loss")
    )
    return Score(loss, error) if select_by == "loss" else Score(error, loss)


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean of values; 0 of one alone, and where one is infinite."""
    # statistics.stdev is exact and twenty times slower, and this is asked at every step of a search
    mean, n = math.fsum(values) / len(values), len(values)
    if not math.isfinite(mean):
        return 0.0
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n) if n > 1 else 0.0

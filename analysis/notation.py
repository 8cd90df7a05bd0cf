"""How numbers are written for people: errors in percent, differences in points, intervals in brackets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

MISSING = "-"
MOST_NAMED = 8
"""Arms that a sentence names one by one."""
NOT_TOLD = "cannot be told"


def known(value: object) -> bool:
    """True for a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def percent(fraction: float, digits: int = 2) -> str:
    """An error or a share as a percentage without its sign: 0.0213 -> "2.13"."""
    return f"{_rounded(100 * fraction, digits):.{digits}f}" if known(fraction) else MISSING


def points(difference: float, digits: int = 2) -> str:
    """A difference of errors in points with its sign: -0.0131 -> "-1.31"."""
    return f"{_rounded(100 * difference, digits):+.{digits}f}" if known(difference) else MISSING


def with_interval(text: str, low: float, high: float, digits: int = 2) -> str:
    """The text and, where it is known, its interval in percent or points: "-1.31 [-1.90, -0.67]"; -inf to inf: cannot be told."""
    if low == -math.inf and high == math.inf:
        return f"{text} [{NOT_TOLD}]"
    return f"{text} [{percent(low, digits)}, {percent(high, digits)}]" if known(low) and known(high) else text


def significant(value: float, digits: int = 2) -> str:
    """A number to so many significant digits, without an exponent between 0.001 and 100,000."""
    if not known(value):
        return MISSING
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        places = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{places}f}"
    return f"{value:.{digits - 1}e}"


def with_spread(value: float, spread: float, digits: int = 2) -> str:
    """A mean to so many significant digits and its standard deviation, where one is known."""
    text = significant(value, digits)
    return f"{text} +- {significant(spread)}" if known(spread) else text


def count(value: float) -> str:
    """A whole number with separators of thousands."""
    return f"{value:,.0f}" if known(value) else MISSING


def counted(number: float, noun: str) -> str:
    """A number of things: "1 block", "24 blocks"."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def listed(names: list[str]) -> str:
    """Names as a sentence has them: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def named(names: list[str], most: int = MOST_NAMED, more: str = " (see the table)") -> str:
    """So many names as a sentence has them; of more than that their number: "12 arms (see the table)"."""
    return listed(names) if len(names) <= most else f"{len(names)} arms{more}"


def _rounded(value: float, digits: int) -> float:
    """Rounded, and never minus zero."""
    return round(value, digits) + 0.0


def plain(value: Any) -> Any:
    """The value as JSON has it; None for nan and missing values."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None

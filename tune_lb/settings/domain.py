"""Domains: what a searched field may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tune_lb.settings.plain import plain


@dataclass(frozen=True)
class Condition:
    """Where a dimension is there at all: where another one, `name`, has one of `values`."""

    name: str
    values: tuple[Any, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the condition as plain JSON."""
        return {"name": self.name, "values": [_plain(value) for value in self.values]}

    def __str__(self) -> str:
        return f"where {self.name} is {' or '.join(map(str, self.values))}"


def _only() -> Any:
    """Declare under which condition a dimension is there; the fields of a space say nothing of it (see training/part_lists.py)."""
    return field(default=None, kw_only=True, repr=False, metadata={"added_later": True})


@dataclass(frozen=True)
class Interval:
    """The numbers from low to high, both included; uniform in the logarithm if log; whole numbers if integer."""

    low: float
    high: float
    log: bool = False
    integer: bool = False
    only: Condition | None = _only()  # noqa: RUF009

    def at(self, u: float) -> float | int:
        """Return the value at the fraction u in [0, 1) of the domain."""
        if self.integer:
            low, high = self.low - 0.5, self.high + 0.5
            value = (
                math.exp(math.log(low) + u * (math.log(high) - math.log(low))) if self.log else low + u * (high - low)
            )
            return int(min(max(round(value), self.low), self.high))
        if self.log:
            value = math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + u * (self.high - self.low)
        # exp(log(x)) is not x to the last digit
        return float(min(max(value, self.low), self.high))

    def to_check(self) -> tuple[Any, ...]:
        """Return the values whose validity implies that of every other."""
        return (int(self.low), int(self.high)) if self.integer else (float(self.low), float(self.high))

    def problems(self) -> list[str]:
        """Say what is wrong with the domain itself."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return [f"over({self.low}, {self.high}): the ends must be finite"]
        if self.low >= self.high:
            return [f"over({self.low}, {self.high}): the first end must be below the second"]
        if self.log and self.low <= 0:
            return [f"over({self.low}, {self.high}, log=True): a logarithmic domain begins above 0"]
        return []

    def as_json(self) -> dict[str, Any]:
        """Return the domain as plain JSON."""
        found = {"low": self.low, "high": self.high, "log": self.log, "integer": self.integer}
        return found | ({"only": self.only.as_json()} if self.only else {})

    def __str__(self) -> str:
        kind = ", ".join(word for word, on in (("log", self.log), ("integer", self.integer)) if on)
        return f"{self.low:g} .. {self.high:g}" + (f" ({kind})" if kind else "") + _where(self.only)


@dataclass(frozen=True)
class Choice:
    """One of the values listed, each as likely as the others."""

    values: tuple[Any, ...]
    only: Condition | None = _only()  # noqa: RUF009

    def at(self, u: float) -> Any:
        """Return the value at the fraction u in [0, 1) of the list."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def to_check(self) -> tuple[Any, ...]:
        """Return every value: each is checked."""
        return self.values

    def problems(self) -> list[str]:
        """Say what is wrong with the domain itself."""
        if not self.values:
            return ["over([]): an empty list of values"]
        if len(set(map(repr, self.values))) < len(self.values):
            return [f"over({list(self.values)}): a value is listed twice"]
        return []

    def as_json(self) -> dict[str, Any]:
        """Return the domain as plain JSON."""
        found: dict[str, Any] = {"values": [_plain(value) for value in self.values]}
        return found | ({"only": self.only.as_json()} if self.only else {})

    def __str__(self) -> str:
        listed = ", ".join(getattr(value, "__name__", None) or str(value) for value in self.values)
        return "{" + listed + "}" + _where(self.only)


Domain = Interval | Choice


def _where(only: Condition | None) -> str:
    return f", {only}" if only else ""


def _plain(value: Any) -> Any:
    """Return what JSON can hold: numbers and texts as they are, an optimiser or a function by its text."""
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__name__", None) or str(value)


def over(low: float | Sequence[Any], high: float | None = None, *, log: bool = False, integer: bool = False) -> Any:
    """Declare that a field is searched: over(1e-4, 1e-1, log=True), over(1, 8, integer=True) or over([20, 50, 100]).

    Numbers and arrays of NumPy and torch are taken as Python's. The declared type is Any so that a domain may stand wherever its
    values may.
    """
    low, high = plain(low), plain(high)
    if getattr(low, "shape", ()) and hasattr(low, "tolist"):
        low = low.tolist()  # np.logspace and its like
    if isinstance(low, Sequence) and not isinstance(low, str | bytes):
        if high is not None or log or integer:
            raise TypeError(
                "over([...]) takes the list of values alone; over(low, high, log=..., integer=...) takes a range"
            )
        return Choice(plain(tuple(low)))
    if high is None:
        raise TypeError("over(low, high) takes both ends of the range, or a list of values")
    if isinstance(low, str | bytes) or not all(type(end) in (int, float) for end in (low, high)):
        raise TypeError(f"over({low!r}, {high!r}): both ends must be numbers")
    if integer and not (float(low).is_integer() and float(high).is_integer()):
        raise TypeError(f"over({low}, {high}, integer=True): both ends must be whole numbers")
    return Interval(low, high, log, integer)

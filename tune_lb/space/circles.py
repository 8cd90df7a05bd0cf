"""Circles among arms that wait for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def circle(start: str, waits_for: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the arms of a shortest way from an arm back to itself, the arm first; none where there is no such way."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop(0)
        for name in waits_for.get(way[-1], ()):
            if name == start:
                return way
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def reached(start: str, waits_for: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the arms that an arm waits for, and those that these wait for, and so on, each once."""
    found: list[str] = []
    waiting = list(waits_for.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.append(name)
            waiting += waits_for.get(name, ())
    return found

"""Combinations: arms that begin with the best configurations of other arms, and which of them can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def combination_problems(combines: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what stands in the way of arms that combine others: an arm named twice, and circles, each said once.

    An arm begins when those that it combines were searched; in a circle none ever would be.
    """
    found = [
        f"arm {arm!r} combines {name!r} twice; name it once"
        for arm, names in combines.items()
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    told: set[frozenset[str]] = set()
    for arm in combines:
        circle = _circle(arm, combines)
        if circle and frozenset(circle) not in told:
            told.add(frozenset(circle))
            if len(circle) == 1:
                found.append(f"arm {arm!r} combines itself; name other arms")
            else:
                way = " -> ".join([*circle, arm])
                found.append(f"arms combine each other in a circle ({way}), so none could begin; leave one out")
    return found


def _circle(start: str, combines: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the arms of a shortest way from an arm back to itself, the arm first; none where there is no such way."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop(0)
        for name in combines.get(way[-1], ()):
            if name == start:
                return way
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []

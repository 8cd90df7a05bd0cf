"""Distinct configurations: where an arm's combinations can be counted, none is proposed twice while one is untried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tune_lb.samplers.sampler import Proposer, Scores, Values
from tune_lb.settings.active import active, cases, has_conditions
from tune_lb.settings.domain import Choice, Domain
from tune_lb.streams import seed_of

SEARCHED_WHOLE = 4096
"""Up to so many combinations the nearest untried one is looked for among all."""

Place = tuple[int, ...]


def num_combinations(domains: Mapping[str, Domain]) -> int | None:
    """Return how many configurations there are, each with what is there in it; None where there is a range of real numbers."""
    counts = [_count(others) for _, others in cases(domains)]
    return None if None in counts else sum(count for count in counts if count is not None)


def may_repeat(domains: Mapping[str, Domain]) -> bool:
    """Say whether there are configurations that can be counted, all or those with some alternative of a list of parts."""
    return any(_count(others) is not None for _, others in cases(domains))


def untried(domains: Mapping[str, Domain], values: Values, tried: Iterable[Values]) -> Values:
    """Return the values, or where they were tried, the nearest combination that was not: fewest places away in the lists.

    With nothing untried left, the values themselves. A combination outside of the domains is none of theirs.
    Where what is left of a list of parts is other alternatives, the nearest of these, with the numbers that the values have for it.
    """
    if has_conditions(domains):
        return _untried_case(domains, values, list(tried))
    total, place = num_combinations(domains), _place(domains, values)
    if total is None or place is None:
        return values
    taken = {at for each in tried if (at := _place(domains, each)) is not None}
    if place not in taken or len(taken) >= total:
        return values
    return _values(domains, _nearest([_length(domain) for domain in domains.values()], place, taken))


class Distinct:
    """Proposals of a sampler that does not learn, with those that repeat an earlier one moved to the nearest untried place.

    The i-th is still the i-th point, so that arms share what they shared, and more samples extend the sequence.
    """

    def __init__(self, proposer: Proposer, domains: Mapping[str, Domain], first: int) -> None:
        self.proposer, self.domains, self.first = proposer, dict(domains), first
        self.known: list[Values] = []

    def propose(self, index: int, scored: Sequence[tuple[Values, Scores]]) -> Values:
        """Return the index-th proposal."""
        if index < self.first:
            return self.proposer.propose(index, scored)
        while len(self.known) <= index - self.first:
            values = self.proposer.propose(self.first + len(self.known), scored)
            self.known.append(untried(self.domains, values, self.known))
        return self.known[index - self.first]


class ActiveAlone:
    """Proposals with the values of what is there alone."""

    def __init__(self, proposer: Proposer, domains: Mapping[str, Domain]) -> None:
        self.proposer, self.domains = proposer, dict(domains)

    def propose(self, index: int, scored: Sequence[tuple[Values, Scores]]) -> Values:
        """Return the index-th proposal."""
        return active(self.domains, self.proposer.propose(index, scored))


def completed(domains: Mapping[str, Domain], values: Values, number: int) -> Values:
    """Return the values with those of dimensions that lack one drawn at random, by the number and the name."""
    missing = {name: d for name, d in domains.items() if name not in values}
    return values | {
        name: domain.at(seed_of("completed", number, name) % 2**32 / 2**32) for name, domain in missing.items()
    }


def _untried_case(domains: Mapping[str, Domain], values: Values, tried: Sequence[Values]) -> Values:
    """Return untried() of dimensions that are not always there."""
    before = [active(domains, each) for each in tried]
    if active(domains, values) not in before:
        return values
    known = list(cases(domains))
    lists = {name: domains[name] for name in known[0][0]}
    own = _place(lists, values)
    if own is None:
        return values
    places = [_place(lists, chosen) or () for chosen, _ in known]
    away = [sum(abs(a - b) for a, b in zip(own, place, strict=True)) for place in places]
    whole = completed(domains, values, len(tried))
    for _, (chosen, others) in sorted(zip(away, known, strict=True), key=lambda pair: pair[0]):
        there = {name: whole[name] for name in others}
        taken = [{name: each[name] for name in others} for each in before if _agrees(each, chosen, others)]
        found = untried(others, there, taken)
        if found not in taken:
            return values | chosen | found
    return values


def _agrees(values: Values, chosen: Values, others: Collection[str]) -> bool:
    return all(values.get(name) == value for name, value in chosen.items()) and all(name in values for name in others)


def _count(domains: Mapping[str, Domain]) -> int | None:
    if not all(isinstance(domain, Choice) or domain.integer for domain in domains.values()):
        return None
    return math.prod(_length(domain) for domain in domains.values())


def _length(domain: Domain) -> int:
    return len(domain.values) if isinstance(domain, Choice) else int(domain.high) - int(domain.low) + 1


def _place(domains: Mapping[str, Domain], values: Mapping[str, Any]) -> Place | None:
    """Return the place of each value in its list; None where one is not there."""
    found = []
    for name, domain in domains.items():
        value = values.get(name)
        if isinstance(domain, Choice):
            at = next((i for i, option in enumerate(domain.values) if option is value or option == value), -1)
        else:
            at = (
                int(value) - int(domain.low)
                if isinstance(value, int | float) and domain.low <= value <= domain.high
                else -1
            )
        if at < 0:
            return None
        found.append(at)
    return tuple(found)


def _values(domains: Mapping[str, Domain], place: Place) -> Values:
    return {
        name: domain.values[at] if isinstance(domain, Choice) else int(domain.low) + at
        for (name, domain), at in zip(domains.items(), place, strict=True)
    }


def _nearest(lengths: Sequence[int], place: Place, taken: Collection[Place]) -> Place:
    """Return a place that is not taken: the nearest one where all can be looked at, else the next in order."""
    if math.prod(lengths) <= SEARCHED_WHOLE:
        free = (other for other in itertools.product(*map(range, lengths)) if other not in taken)
        return min(free, key=lambda other: sum(abs(a - b) for a, b in zip(other, place, strict=True)))
    while place in taken:
        place = _next(lengths, place)
    return place


def _next(lengths: Sequence[int], place: Place) -> Place:
    """Return the place after, the last dimension fastest; after the last comes the first."""
    found = list(place)
    for i in reversed(range(len(found))):
        found[i] = (found[i] + 1) % lengths[i]
        if found[i]:
            break
    return tuple(found)

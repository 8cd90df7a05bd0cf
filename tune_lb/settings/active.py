"""Dimensions that are not always there: which of them are, in a configuration, and the cases that there are."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from tune_lb.settings.domain import Choice, Domain


def has_conditions(domains: Mapping[str, Domain]) -> bool:
    """Say whether there are dimensions that are not always there."""
    return any(domain.only is not None for domain in domains.values())


def is_active(domain: Domain, values: Mapping[str, Any]) -> bool:
    """Say whether a dimension is there in a configuration; also where that does not say what the condition is about."""
    only = domain.only
    return only is None or only.name not in values or values[only.name] in only.values


def active(domains: Mapping[str, Domain], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values without those of dimensions that are not there. Names that are no dimensions stay."""
    return {name: value for name, value in values.items() if name not in domains or is_active(domains[name], values)}


def cases(domains: Mapping[str, Domain]) -> Iterator[tuple[dict[str, Any], dict[str, Domain]]]:
    """Yield every combination of what conditions are about, each with the other dimensions that are there then, always.

    One, of all dimensions, where there are no conditions.
    """
    about = list(dict.fromkeys(domain.only.name for domain in domains.values() if domain.only is not None))
    lists = [domain.values for domain in map(domains.__getitem__, about) if isinstance(domain, Choice)]
    for values in itertools.product(*lists):
        chosen = dict(zip(about, values, strict=True))
        there = {name: d for name, d in domains.items() if name not in chosen and is_active(d, chosen)}
        yield chosen, {name: dataclasses.replace(d, only=None) if d.only else d for name, d in there.items()}


def ends(domains: Mapping[str, Domain]) -> Iterator[dict[str, Any]]:
    """Yield the configurations whose validity implies that of every other: each end of each domain, the others at their first."""
    for chosen, others in cases(domains):
        first = {name: chosen[name] if name in chosen else domain.to_check()[0] for name, domain in domains.items()}
        first = active(domains, first)
        yield first
        for name, domain in others.items():
            yield from (first | {name: end} for end in domain.to_check()[1:])

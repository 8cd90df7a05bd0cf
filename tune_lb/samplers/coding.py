"""Values of dimensions as plain numbers, for what can hold nothing else, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tune_lb.samplers.sampler import Values
from tune_lb.settings.active import is_active
from tune_lb.settings.domain import Choice, Domain


def coded(domains: Mapping[str, Domain], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of the dimensions that are there as plain numbers: what is chosen from a list by its position there."""
    return {
        name: domain.values.index(values[name]) if isinstance(domain, Choice) else values[name]
        for name, domain in domains.items()
        if is_active(domain, values)
    }


def decoded(domains: Mapping[str, Domain], numbers: Mapping[str, Any]) -> Values:
    """Return the values that coded() made numbers of."""
    return {
        name: domain.values[numbers[name]] if isinstance(domain, Choice) else numbers[name]
        for name, domain in domains.items()
        if name in numbers
    }


def contains(domain: Domain, value: Any) -> bool:
    """Say whether a value lies in a domain."""
    if isinstance(domain, Choice):
        return value in domain.values
    return isinstance(value, int | float) and domain.low <= value <= domain.high

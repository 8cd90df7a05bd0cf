"""Domains of ours as Ray Tune's, and Ray's as ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune.search import sample

from tune_lb.errors import RequestError, nearest
from tune_lb.settings.domain import Choice, Domain, Interval, over
from tune_lb.settings.identity import describe
from tune_lb.settings.plain import plain

GRID = "grid_search"


def to_ray(domain: Domain) -> Any:
    """Return over(...) as a domain of Ray's: uniform, loguniform, randint, lograndint (whose upper end is not included) or choice.

    What a searcher cannot hold (an optimiser, a network) stands in the choice as its text; see `value_of`.
    """
    if isinstance(domain, Choice):
        return tune.choice(options(domain))
    if domain.integer:
        make = tune.lograndint if domain.log else tune.randint
        return make(int(domain.low), int(domain.high) + 1)
    make = tune.loguniform if domain.log else tune.uniform
    return make(float(domain.low), float(domain.high))


def from_ray(domain: Any) -> Domain:
    """Return a domain of Ray's as over(...) gives it, to stand in a field of a space: SAM(rho=from_ray(tune.loguniform(0.02, 1))).

    choice and grid_search are lists. Raises RequestError for what has no end or a step of its own (randn, quniform, sample_from).
    """
    if isinstance(domain, Mapping) and list(domain) == [GRID]:
        found: Domain = over(list(domain[GRID]))
        return found
    if isinstance(domain, sample.Categorical):
        found = over(list(domain.categories))
        return found
    sampler = domain.get_sampler() if isinstance(domain, sample.Float | sample.Integer) else None
    log = isinstance(sampler, sample.LogUniform)
    if not (log or isinstance(sampler, sample.Uniform)):
        what = getattr(domain, "domain_str", "") or repr(domain)
        raise RequestError(
            f"{what} has no counterpart among over(...): give uniform, loguniform, randint, lograndint, choice or grid_search"
        )
    whole = isinstance(domain, sample.Integer)
    return Interval(domain.lower, domain.upper - whole, log=log, integer=whole)


def options(domain: Choice) -> list[Any]:
    """Return what stands for each listed value in a configuration of Ray's: numbers, flags and texts themselves, or a text."""
    found: list[Any] = []
    for value in map(plain, domain.values):
        text = value if value is None or isinstance(value, bool | int | float | str) else describe(value)
        found.append(f"{text} ({len(found)})" if text in found and not isinstance(value, bool | int | float) else text)
    return found


def value_of(domain: Domain, given: Any, where: str) -> Any:
    """Return the value of a domain that a configuration of Ray's means. Numbers need not lie in it. Raises RequestError."""
    value = plain(given)
    if isinstance(domain, Choice):
        known = options(domain)
        if value in known:
            return domain.values[known.index(value)]
        if isinstance(value, str) and not all(isinstance(own, str) for own in domain.values):
            raise RequestError(f"{where} = {value!r} is none of {', '.join(map(repr, known))}{nearest(value, known)}")
        return value
    return int(value) if domain.integer and isinstance(value, float) and value.is_integer() else value

"""Points of the user's own: configurations that every arm tries before those that its sampler proposes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tune_lb.errors import nearest
from tune_lb.samplers.coding import contains
from tune_lb.settings.active import active
from tune_lb.settings.domain import Choice, Domain
from tune_lb.settings.identity import describe
from tune_lb.settings.plain import plain
from tune_lb.space.designs import ArmDesign

ARM = "arm"
"""Key of a point that is for one arm alone (and for the placebo and the longer references, where it is the reference)."""

AS_REFERENCE = ("placebo", "compute_matched")


def points_of_design(
    points: Sequence[Mapping[str, Any]], design: ArmDesign, reference: str | None
) -> list[dict[str, Any]]:
    """Return the points that an arm tries, each with what it gives of the arm's dimensions; the rest is the sampler's."""
    if design.derived_from is not None:
        return []
    names = {design.name} | ({reference} if design.role in AS_REFERENCE else set())
    found = []
    for point in points:
        own = _given(design.dimensions, point)
        if own and point.get(ARM, design.name) in names:
            found.append(own)
    return found


def point_problems(
    points: Sequence[Any], designs: Sequence[ArmDesign], num_samples: int, enumerates: bool, where: str
) -> list[str]:
    """Return what is wrong with the points of a space."""
    if not isinstance(points, tuple | list) or not all(isinstance(point, Mapping) for point in points):
        return [f'{where}.points: a tuple of configurations is needed, as ({{"eta_over_b": 1e-3, "sam.rho": 0.1}},)']
    found = []
    arms = {design.name: design for design in designs}
    for number, point in enumerate(points):
        place = f"{where}.points[{number}]"
        arm = point.get(ARM)
        if arm is not None and arm not in arms:
            found.append(f"{place}: there is no arm {arm!r}{nearest(str(arm), arms)}")
            continue
        having = [design for design in designs if arm in (None, design.name)]
        known = {name for design in having for name in design.dimensions}
        whose = f"arm {arm!r} does not search" if arm is not None else "no arm searches"
        found += [
            f"{place}: {whose} {name!r}{nearest(str(name), known)}" for name in point if name not in known | {ARM}
        ]
        for design in having:
            found += [f"{place}: {line} (arm {design.name!r})" for line in _unclear(design.dimensions, point)]
            for name, domain in design.dimensions.items():
                if name in point and not contains(domain, _value(domain, point[name])):
                    found.append(f"{place}: {name} = {point[name]!r} is outside of {domain} (arm {design.name!r})")
    if enumerates and points:
        found.append(f"{where}.points: a grid tries every combination: leave points out, or take another sampler")
    most = max((len(points_of_design(points, design, None)) for design in designs), default=0)
    if most > num_samples:
        found.append(
            f"{where}.points: an arm has {most} of them, and num_samples = {num_samples} configurations in all"
        )
    return list(dict.fromkeys(found))


def _given(domains: Mapping[str, Domain], point: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a point gives of an arm's dimensions that are there; a field of one alternative alone says that it is drawn."""
    own = {name: _value(domain, point[name]) for name, domain in domains.items() if name in point}
    for name in list(own):
        only = domains[name].only
        if only is not None and only.name not in own and len(only.values) == 1:
            own[only.name] = only.values[0]
    return active(domains, own)


def _unclear(domains: Mapping[str, Domain], point: Mapping[str, Any]) -> list[str]:
    """Say where a point gives fields of several alternatives, and not which is drawn."""
    conditions = {name: domain.only for name, domain in domains.items() if name in point and domain.only is not None}
    found = []
    for name, only in conditions.items():
        others = [other for other, its in conditions.items() if its.name == only.name and its.values != only.values]
        if only.name not in point and (others or len(only.values) > 1):
            found.append(f"{name} is there {only}: give {only.name} as well")
    return found[:1]


def _value(domain: Domain, given: Any) -> Any:
    """Return a value as the domain has it: of a list whose values are no plain numbers, the one whose text it is."""
    value = plain(given)
    if isinstance(domain, Choice) and isinstance(value, str) and value not in domain.values:
        return next((option for option in domain.values if describe(option) == value), value)
    return value

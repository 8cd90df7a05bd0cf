"""Every mistake of a space that can be seen without its data, and its arms once there are none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tune_lb.errors import RequestError, nearest
from tune_lb.metrics.names import as_metrics
from tune_lb.samplers.names import NAMES
from tune_lb.samplers.sampler import Sampler
from tune_lb.settings.domain import Choice, Domain
from tune_lb.settings.identity import describe
from tune_lb.settings.setting import Settings
from tune_lb.space.arm import Arm
from tune_lb.space.circles import circle
from tune_lb.space.data_sets import data_domain_problems
from tune_lb.space.designs import ArmDesign, overridden_templates, template_of, unchecked_designs
from tune_lb.space.halving import stopping_problems
from tune_lb.space.objectives import objective_problems
from tune_lb.space.observation import Walk, Watch, crossing_problems
from tune_lb.space.points import point_problems
from tune_lb.space.space import TRIAL_FIELDS, Space
from tune_lb.space.taking import taking_problems
from tune_lb.space.until import Until
from tune_lb.training.remedy import Remedy
from tune_lb.training.ways import AUTO


def checked_designs(space: Space) -> list[ArmDesign]:
    """Return the arms as they are run, added ones included. Raises RequestError with every mistake found."""
    found = space_problems(space)
    if found:
        raise RequestError(found)
    return unchecked_designs(space)


def space_problems(space: Space, where: str = "space") -> list[str]:
    """Return every mistake that can be seen without the data."""
    found = Settings.problems(space, where)
    if not isinstance(space.arms, tuple | list) or not all(isinstance(arm, Arm) for arm in space.arms):
        return [*found, f"{where}.arms: a tuple of Arm(...) is needed"]
    if isinstance(space.microbatch, str) and space.microbatch != AUTO:
        found.append(f"{where}.microbatch = {space.microbatch!r}: must be {AUTO!r}, None or a whole number of examples")
    found += _name_problems(space, where)
    roles = {str(space.baseline): "baseline", str(space.reference): "reference"}
    for arm in space.arms:
        found += _arm_problems(arm, [other.name for other in space.arms], roles)
    found += combines_problems({arm.name: arm.combines for arm in space.arms})
    found += _metric_problems(space, where)
    found = [line for line in found if not line.startswith(f"{where}.crossings")]
    found += crossing_problems(space.crossings, where)
    found += space.walk.problems(f"{where}.walk") if isinstance(space.walk, Walk) else []
    found += space.watch.problems(f"{where}.watch") if isinstance(space.watch, Watch) else []
    found += _until_problems(space, where)
    found += stopping_problems(space.stopping, space.objectives, where)
    if not isinstance(space.sampler, Sampler):
        known = ", ".join(map(repr, NAMES))
        found = [line for line in found if not line.startswith(f"{where}.sampler = ")]
        found.append(
            f"{where}.sampler = {space.sampler!r}: must be a sampler, as in Sobol(), or one of {known}"
            f"{nearest(str(space.sampler), NAMES)}"
        )
        return list(dict.fromkeys(found))
    found += space.sampler.problems(f"{where}.sampler")
    found += objective_problems(space.objectives, space.metrics, space.metrics_on, space.sampler, where)
    found += _template_problems(space, where)
    if found:
        return list(dict.fromkeys(found))
    designs = unchecked_designs(space)
    found += point_problems(space.points, designs, space.num_samples, space.sampler.enumerates, where)
    run = [design.name for design in designs]
    added = sorted({name for name in run if run.count(name) > 1})
    return [*found, *taking_problems(space, designs)] + [
        f"arm {name!r}: the space adds an arm of that name; take another" for name in added
    ]


def _metric_problems(space: Space, where: str) -> list[str]:
    if not space.metrics:
        return []
    try:
        as_metrics(space.metrics)
    except RequestError as error:
        return [f"{where}.metrics: {problem}" for problem in error.problems]
    return []


def _until_problems(space: Space, where: str) -> list[str]:
    until = space.confirm_blocks
    if not isinstance(until, Until):
        return []
    found = until.problems(f"{where}.confirm_blocks")
    if space.reference is None:
        found.append(
            f"{where}.confirm_blocks = {describe(until)}: what is to be known are differences from a reference, and there is none; "
            "give reference=, or a number of blocks"
        )
    return found


def _name_problems(space: Space, where: str) -> list[str]:
    names = [arm.name for arm in space.arms]
    found = []
    if space.baseline is not None and space.baseline == space.reference:
        found.append(f"{where}: baseline and reference are the same arm, {space.baseline!r}")
    if not names:
        found.append(f"{where}.arms: there are no arms; a comparison needs at least one Arm(...)")
    found += [f"{where}.arms: two arms are named {name!r}" for name in sorted({n for n in names if names.count(n) > 1})]
    found += [
        f"arm {name!r}: names are letters, digits and _ (they become file and column names)"
        for name in names
        if not re.fullmatch(r"\w+", name)
    ]
    for role in ("baseline", "reference"):
        name = getattr(space, role)
        if name is not None and name not in names:
            found.append(f"{where}.{role} = {name!r} is not among the arms{nearest(name, names)}")
    return found


def _arm_problems(arm: Arm, names: Sequence[str], roles: Mapping[str, str]) -> list[str]:
    known = set(TRIAL_FIELDS)
    found = [f"arm {arm.name!r} has no field {key!r}{nearest(key, known)}" for key in arm.settings if key not in known]
    found += [
        f"arm {arm.name!r} combines {n!r}, which is not an arm{nearest(n, names)}"
        for n in arm.combines
        if n not in names
    ]
    if any(isinstance(remedy, Choice) for remedy in arm.remedies) and arm.name in roles:
        found.append(
            f"arm {arm.name!r} is the {roles[arm.name]}, which has no list of remedies: give the list an arm of its own"
        )
    return found + [
        f"arm {arm.name!r}: {r!r} is not a remedy" for r in arm.remedies if not isinstance(r, Remedy | Choice)
    ]


def _template_problems(space: Space, where: str) -> list[str]:
    arms = [arm for arm in space.arms if all(isinstance(r, Remedy | Choice) for r in arm.remedies)]
    templates, found = overridden_templates(space, {arm.name: template_of(space, arm) for arm in arms})
    found += [
        f"arm {arm.name!r} combines other arms but searches nothing that it could take from them"
        for arm in arms
        if arm.combines and not templates[arm.name].dimensions()
    ]
    # a mistake of the space is a mistake of every arm: say it once
    concerned: dict[str, list[str]] = {}
    for name, template in templates.items():
        lines = [line.removeprefix(f"arm {name!r}") for line in template.problems()]
        lines += data_domain_problems(template)
        domains = template.dimensions()
        lines += [
            f": {line}" for line in (*space.sampler.domain_problems(domains), *_conditions(space.sampler, domains))
        ]
        for line in lines:
            if line.startswith(".batch_size = None"):
                line = ": batch_size is not given, neither in the arm nor in the space"
            concerned.setdefault(line, []).append(name)
    for line, names in concerned.items():
        if len(names) == len(templates) > 1:
            found.append(where + line)
        else:
            found.append(f"arm{'s' * (len(names) > 1)} {', '.join(map(repr, names))}{line}")
    return found


def _conditions(sampler: Sampler, domains: Mapping[str, Domain]) -> list[str]:
    """Say that a sampler does not know dimensions that are not always there."""
    name = next((name for name, domain in domains.items() if domain.only is not None), None)
    if name is None or sampler.conditional:
        return []
    return [
        f"sampler {sampler.name} cannot propose {name}, which is there only {domains[name].only}: take sobol, random or tpe, or "
        "give each alternative of the list an arm of its own"
    ]


def combines_problems(combines: Mapping[str, Sequence[str]]) -> list[str]:
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
        way = circle(arm, combines)
        if way and frozenset(way) not in told:
            told.add(frozenset(way))
            if len(way) == 1:
                found.append(f"arm {arm!r} combines itself; name other arms")
            else:
                text = " -> ".join([*way, arm])
                found.append(f"arms combine each other in a circle ({text}), so none could begin; leave one out")
    return found

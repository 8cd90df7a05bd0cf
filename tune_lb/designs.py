"""The arms as they are run: those of a space, and the references that a fair comparison needs beside them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tune_lb.arm import ArmDesign
from tune_lb.budgets import Epochs
from tune_lb.domain import Choice, Interval
from tune_lb.remedy import overrides
from tune_lb.trial import Trial

if TYPE_CHECKING:
    from tune_lb.space import Space

ORDER = ("baseline", "reference", "copied", "scaled", "placebo", "compute_matched", "arm")


def designs_of(space: Space, templates: Mapping[str, Trial]) -> list[ArmDesign]:
    """Return the arms by role: the space's own, of the given templates, and those it adds; see Space."""
    designs = []
    for arm in space.arms:
        role = "baseline" if arm.name == space.baseline else "reference" if arm.name == space.reference else "arm"
        template = templates[arm.name]
        num_samples = _samples(space, template, len(arm.combines))
        designs.append(ArmDesign(arm.name, role, template, num_samples, combines=arm.combines))
    if space.reference is not None:
        designs = _matched(space, designs) + _references(space, templates[space.reference])
    return sorted(designs, key=lambda design: ORDER.index(design.role))


def _samples(space: Space, template: Trial, combined: int = 0) -> int:
    domains = template.dimensions().values()
    if not domains:
        return 1
    if space.sampler == "grid" and all(isinstance(domain, Choice) for domain in domains):
        # a grid is tried whole, beside what is taken from other arms
        return combined + math.prod(len(domain.ends()) for domain in domains)
    return space.num_samples


def _references(space: Space, reference: Trial) -> list[ArmDesign]:
    added: list[ArmDesign] = []
    if space.derived and space.baseline is not None:
        for role in ("copied", "scaled"):
            name = f"{space.reference}_{role}"
            # they are given the rate itself: nothing is to scale it once more
            kept = tuple(remedy for remedy in reference.remedies if not overrides(remedy, "peak_rate"))
            template = dataclasses.replace(reference, arm=name, remedies=kept)
            added.append(ArmDesign(name, role, template, 0, derived_from=space.baseline))
    if space.placebo:
        template = dataclasses.replace(reference, arm="placebo", draws="placebo")
        added.append(ArmDesign("placebo", "placebo", template, _samples(space, template), shares_points=False))
    return added


def _matched(space: Space, designs: list[ArmDesign]) -> list[ArmDesign]:
    reference = next(design for design in designs if design.name == space.reference)
    budget = reference.template.budget
    if not space.compute_matched or not isinstance(budget, Epochs) or isinstance(budget.epochs, Interval | Choice):
        return designs
    added: dict[str, ArmDesign] = {}
    matched = []
    for design in designs:
        cost = design.template.evaluations_per_update / reference.template.evaluations_per_update
        name = f"{space.reference}_{cost:g}x_epochs".replace(".", "p")
        if cost > 1 and design.role == "arm":
            template = dataclasses.replace(reference.template, arm=name, budget=Epochs(budget.epochs * cost))
            added[name] = ArmDesign(name, "compute_matched", template, reference.num_samples)
            design = dataclasses.replace(design, matched_by=name)
        matched.append(design)
    return matched + list(added.values())

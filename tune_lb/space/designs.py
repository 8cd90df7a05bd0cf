"""Designs: the arms of a space as they are run, and the references that a fair comparison needs beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune_lb.budgets import Epochs
from tune_lb.errors import nearest
from tune_lb.samplers.distinct import num_combinations
from tune_lb.settings.domain import Choice, Domain, Interval
from tune_lb.settings.setting import as_typed
from tune_lb.space.arm import Arm
from tune_lb.space.circles import reached
from tune_lb.space.old_fields import successor
from tune_lb.space.space import EXTENDABLE, PROCEDURE, TRIAL_FIELDS, Space
from tune_lb.training.part_lists import listed_names, part_lists
from tune_lb.training.remedy import overrides
from tune_lb.training.taking import taken_by
from tune_lb.training.trial import Trial
from tune_lb.training.trial_columns import part_columns

ORDER = ("baseline", "reference", "copied", "scaled", "placebo", "compute_matched", "arm")


@dataclass(frozen=True)
class ArmDesign:
    """An arm as it is run: with its role, and a trial whose searched fields hold their domains."""

    name: str
    role: str
    """baseline, reference, copied, scaled, placebo, compute_matched or arm."""
    template: Trial
    num_samples: int
    shares_points: bool = True
    derived_from: str | None = None
    """copied and scaled have no search of their own: they take what this arm selected."""
    combines: tuple[str, ...] = ()
    asked: int = 0
    """The space's num_samples, where there are fewer combinations than that; else 0."""
    matched_by: str | None = None
    """The arm that spends as many gradient evaluations on plain training."""
    lent: tuple[tuple[str, bool], ...] = ()
    """Stages in whose blocks arms search that take from it, and whether these are the placebo's: its one configuration is trained
    there too."""

    @property
    def dimensions(self) -> dict[str, Domain]:
        """Return the searched fields by column name."""
        return self.template.dimensions()


def unchecked_designs(space: Space) -> list[ArmDesign]:
    """Return the arms by role: the space's own and those it adds. For a space without mistakes: see checked_designs."""
    templates, _ = overridden_templates(space, {arm.name: template_of(space, arm) for arm in space.arms})
    designs = []
    for arm in space.arms:
        role = "baseline" if arm.name == space.baseline else "reference" if arm.name == space.reference else "arm"
        template = templates[arm.name]
        num_samples = _samples(space, template, len(arm.combines))
        designs.append(ArmDesign(arm.name, role, template, num_samples, combines=arm.combines))
    if space.reference is not None:
        designs = _matched(space, designs) + _references(space, templates[space.reference])
    designs = [
        dataclasses.replace(d, asked=space.num_samples)
        if d.dimensions
        and d.num_samples < space.num_samples
        and not space.sampler.enumerates
        and d.derived_from is None
        else d
        for d in designs
    ]
    return sorted(_lending(space, designs), key=lambda design: ORDER.index(design.role))


def _lending(space: Space, designs: Sequence[ArmDesign]) -> list[ArmDesign]:
    """Return the designs with the stages that arms lend to those that take from them and search."""
    takes = {design.name: [taken.arm for taken in taken_by(design.template)] for design in designs}
    lent: dict[str, set[tuple[str, bool]]] = {}
    for design in designs:
        if design.dimensions and design.derived_from is None and design.num_samples > 1:
            stages = ["search", "decide"] if min(space.candidates, design.num_samples) > 1 else ["search"]
            for name in reached(design.name, takes):
                lent.setdefault(name, set()).update((stage, not design.shares_points) for stage in stages)
    return [dataclasses.replace(d, lent=tuple(sorted(lent[d.name]))) if d.name in lent else d for d in designs]


def sampling_notes(designs: Sequence[ArmDesign]) -> list[str]:
    """Say which arms have fewer combinations than configurations were asked for, and what others then have more."""
    short = [design for design in designs if design.asked]
    if not short:
        return []
    each = ", ".join(f"{design.name} {design.num_samples}" for design in short)
    fuller = [d.name for d in designs if d.dimensions and d.derived_from is None and not d.asked]
    note = f"fewer combinations than num_samples = {short[0].asked}, each tried once ({each})"
    if fuller:
        note += f"; {', '.join(fuller)} {'try' if len(fuller) > 1 else 'tries'} {short[0].asked}: their budgets are not equal"
    elif len({design.num_samples for design in short}) > 1:
        note += ": their budgets are not equal"
    return [note]


def template_of(space: Space, arm: Arm) -> Trial:
    """Return the trial of an arm, the space's fields where the arm gives none, overrides not yet made."""
    chosen = {name: arm.settings.get(name, getattr(space, name)) for name in TRIAL_FIELDS}
    if "lr" in arm.settings and "eta_over_b" not in arm.settings and space.lr is None:
        chosen["eta_over_b"] = None
    if "eta_over_b" in arm.settings and "lr" not in arm.settings and space.eta_over_b is None:
        chosen["lr"] = None
    return Trial(arm=arm.name, remedies=tuple(arm.remedies), error=space.error, **chosen)


def overridden_templates(space: Space, templates: Mapping[str, Trial]) -> tuple[dict[str, Trial], list[str]]:
    """Return the templates with the space's KEY=VALUE changes made, and a line for each that names no field."""
    found = []
    changed = dict(templates)
    changes: Sequence[tuple[str, Any]] = space.overrides
    for key, value in changes:
        arms = {name: key for name, template in changed.items() if key in field_names(template)}
        head, _, tail = key.partition(".")
        if not arms and head in changed and tail in field_names(changed[head]):
            arms = {head: tail}
        if not arms:
            known = {*EXTENDABLE, *PROCEDURE} | {
                name for template in changed.values() for name in field_names(template)
            }
            meant = successor(key) or nearest(key, known)
            found.append(f"{key}={value}: no field of the space or of an arm has that name{meant}")
        for arm, name in arms.items():
            change = {name: _typed(changed[arm], name, value)}
            if name in ("lr", "eta_over_b"):
                change["eta_over_b" if name == "lr" else "lr"] = None
            changed[arm] = changed[arm].resolved(change)
    return changed, found


def _typed(template: Trial, name: str, value: Any) -> Any:
    """Return what was typed for a field of a trial, by the name that it is overridden under."""
    for prefix, part in [*template.parts().items(), *template.alternatives()]:
        field = part_columns(prefix, part).get(name)
        if field is not None:
            return as_typed(part, field, value)
    return value if name in listed_names(part_lists(template)) else as_typed(template, name, value)


def field_names(template: Trial) -> list[str]:
    """Return the names under which fields of a trial can be overridden: its own scalars, and those of its parts."""
    own = ["batch_size", "lr", "eta_over_b", "precision"]
    return own + template.part_fields()


def _samples(space: Space, template: Trial, combined: int = 0) -> int:
    domains = template.dimensions()
    if not domains:
        return 1
    total = num_combinations(domains)
    if space.sampler.enumerates and total is not None and all(isinstance(d, Choice) for d in domains.values()):
        # a grid is tried whole, beside what is taken from other arms
        return combined + total
    return space.num_samples if total is None else min(space.num_samples, combined + total)


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
        template = dataclasses.replace(reference, arm="placebo")
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

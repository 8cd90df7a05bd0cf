"""Search spaces: the arms that are compared, what is searched in each, and how the comparison is run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tune_lb.arm import Arm, ArmDesign
from tune_lb.budgets import Budget, Epochs
from tune_lb.combinations import combination_problems
from tune_lb.data.dataset import DataSource
from tune_lb.designs import designs_of
from tune_lb.domain import Interval, over
from tune_lb.errors import RequestError, nearest
from tune_lb.gradient import LossFn
from tune_lb.losses import cross_entropy
from tune_lb.metric import Metric
from tune_lb.microbatches import AUTO
from tune_lb.optimizers import SGD, OptimizerSettings
from tune_lb.phase import Phase
from tune_lb.precision import PRECISIONS
from tune_lb.program import EXECUTIONS
from tune_lb.remedy import Remedy
from tune_lb.schedules import Cosine, ScheduleShape
from tune_lb.setting import Settings, setting
from tune_lb.trial import Initialize, Model, Trial, identity
from tune_lb.walk import Walk
from tune_lb.watch import Watch

__all__ = ["Arm", "ArmDesign", "Space", "over"]

TRIAL_FIELDS = (
    "data",
    "model",
    "optimizer",
    "schedule",
    "budget",
    "loss",
    "initialization",
    "precision",
    "phases",
    "batch_size",
    "lr",
    "eta_over_b",
)
SAMPLERS = ("sobol", "random", "grid", "tpe")
EXTENDABLE = ("num_samples", "seeds", "rescreen_seeds", "confirm_seeds", "question")
"""Fields that may change between two calls of the same run: they add members and never change one."""


@dataclass(frozen=True)
class Space(Settings):
    """A question, the arms that answer it, and the procedure: search, rescreen, confirm, in every split by itself.

    walk says what is observed of single updates, in the first confirmed members of each arm and split.
    Arms that the comparison needs are added: `<reference>_copied` and `_scaled` (the baseline's best rate, and best rate per
    example, at the reference's batch), `placebo` (the reference with other random draws) and, where an arm takes c > 1
    gradients per update, the reference trained c times as long.
    """

    question: str
    data: DataSource
    model: Model
    arms: tuple[Arm, ...]
    baseline: str | None = None
    reference: str | None = None
    optimizer: OptimizerSettings = field(default_factory=SGD)
    schedule: ScheduleShape = field(default_factory=Cosine)
    budget: Budget = field(default_factory=Epochs)
    loss: LossFn = cross_entropy
    initialization: Initialize | None = None
    precision: str = setting("fp32", "of training's forward passes; evaluation is in fp32", one_of=PRECISIONS)
    phases: tuple[Phase, ...] = ()
    batch_size: int | None = setting(None, "examples per update, where an arm does not say", low=1)
    lr: float | None = setting(None, "peak learning rate", above=0.0)
    eta_over_b: float | None = setting(None, "peak learning rate per example", above=0.0)
    split_seeds: tuple[int, ...] = (0,)
    num_samples: int = setting(12, "configurations searched in each arm and split", low=1)
    seeds: int = setting(3, "members of each searched configuration", low=1, high=999)
    rescreen_seeds: int = setting(3, "fresh members of each near-best configuration", low=1, high=999)
    confirm_seeds: int = setting(8, "fresh members of the selected configuration: an arm's result", low=1, high=999)
    metrics: tuple[Metric, ...] = ()
    metrics_on: str = setting("confirm", "members that are measured", one_of=("confirm", "all"))
    sampler: str = setting("sobol", "how configurations are proposed", one_of=SAMPLERS)
    derived: bool = setting(True, "add the copied and scaled arms")
    placebo: bool = setting(True, "add the placebo arm")
    compute_matched: bool = setting(True, "add references trained longer, for arms that cost more per update")
    seed: int = setting(0, "of the quasi-random points", low=0)
    walk: Walk | None = None
    watch: Watch | None = field(
        default=None, metadata={"description": "what is measured at epoch ends, of the first confirmed members"}
    )
    execution: str = setting(
        "auto", "how members are trained; auto: the fastest way, timed", one_of=("auto", *EXECUTIONS)
    )
    microbatch: int | str | None = setting(
        AUTO, "examples at a time in the network; auto: as fit into a GPU; none: the whole batch", low=1
    )
    overrides: tuple[tuple[str, Any], ...] = ()

    def overridden(self, changes: Sequence[tuple[str, Any]]) -> Space:
        """Return the space with KEY=VALUE changes: a field of the space, of every arm (epochs), or of one (ARM.batch_size)."""
        own = {f.name for f in dataclasses.fields(self)} - {"arms", "overrides", *TRIAL_FIELDS}
        direct: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in changes if key in own
        }
        return dataclasses.replace(
            self, **direct, overrides=self.overrides + tuple(c for c in changes if c[0] not in own)
        )

    def designs(self) -> list[ArmDesign]:
        """Return the arms as they are run, added ones included. Raises RequestError with every mistake found."""
        found = self.problems()
        if found:
            raise RequestError(found)
        return self._designs()

    def problems(self, where: str = "space") -> list[str]:
        """Return every mistake that can be seen without the data."""
        found = super().problems(where)
        if not isinstance(self.arms, tuple | list) or not all(isinstance(arm, Arm) for arm in self.arms):
            return [*found, f"{where}.arms: a tuple of Arm(...) is needed"]
        if isinstance(self.microbatch, str) and self.microbatch != AUTO:
            found.append(
                f"{where}.microbatch = {self.microbatch!r}: must be {AUTO!r}, None or a whole number of examples"
            )
        names = [arm.name for arm in self.arms]
        if self.baseline is not None and self.baseline == self.reference:
            found.append(f"{where}: baseline and reference are the same arm, {self.baseline!r}")
        if not names:
            found.append(f"{where}.arms: there are no arms; a comparison needs at least one Arm(...)")
        found += [
            f"{where}.arms: two arms are named {name!r}" for name in sorted({n for n in names if names.count(n) > 1})
        ]
        found += [
            f"arm {name!r}: names are letters, digits and _ (they become file and column names)"
            for name in names
            if not re.fullmatch(r"\w+", name)
        ]
        for role in ("baseline", "reference"):
            name = getattr(self, role)
            if name is not None and name not in names:
                found.append(f"{where}.{role} = {name!r} is not among the arms{nearest(name, names)}")
        for arm in self.arms:
            known = set(TRIAL_FIELDS)
            found += [
                f"arm {arm.name!r} has no field {key!r}{nearest(key, known)}"
                for key in arm.settings
                if key not in known
            ]
            found += [
                f"arm {arm.name!r} combines {n!r}, which is not an arm{nearest(n, names)}"
                for n in arm.combines
                if n not in names
            ]
            found += [f"arm {arm.name!r}: {r!r} is not a remedy" for r in arm.remedies if not isinstance(r, Remedy)]
        found += combination_problems({arm.name: arm.combines for arm in self.arms})
        if isinstance(self.split_seeds, tuple | list) and not 0 < len(self.split_seeds) == len(set(self.split_seeds)):
            found.append(f"{where}.split_seeds = {self.split_seeds}: at least one, each once")
        found += [
            f"metric {metric!r}: not a metric (it has no name and columns)"
            for metric in self.metrics
            if not hasattr(metric, "columns")
        ]
        found += self.walk.problems(f"{where}.walk") if isinstance(self.walk, Walk) else []
        found += self.watch.problems(f"{where}.watch") if isinstance(self.watch, Watch) else []
        found += self._template_problems(where)
        if found:
            return list(dict.fromkeys(found))
        run = [design.name for design in self._designs()]
        added = sorted({name for name in run if run.count(name) > 1})
        return [f"arm {name!r}: the space adds an arm of that name; take another" for name in added]

    def _template_problems(self, where: str) -> list[str]:
        arms = [arm for arm in self.arms if all(isinstance(remedy, Remedy) for remedy in arm.remedies)]
        templates, found = _with_overrides({arm.name: self._template(arm) for arm in arms}, self.overrides)
        found += [
            f"arm {arm.name!r} combines other arms but searches nothing that it could take from them"
            for arm in arms
            if arm.combines and not templates[arm.name].dimensions()
        ]
        # a mistake of the space is a mistake of every arm: say it once
        concerned: dict[str, list[str]] = {}
        for name, template in templates.items():
            lines = [line.removeprefix(f"arm {name!r}") for line in template.problems()]
            if self.sampler == "grid":
                ranges = {key: domain for key, domain in template.dimensions().items() if isinstance(domain, Interval)}
                lines += [f": sampler grid needs lists of values, {key} is the range {ranges[key]}" for key in ranges]
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

    def _template(self, arm: Arm) -> Trial:
        chosen = {name: arm.settings.get(name, getattr(self, name)) for name in TRIAL_FIELDS}
        if "lr" in arm.settings and "eta_over_b" not in arm.settings and self.lr is None:
            chosen["eta_over_b"] = None
        if "eta_over_b" in arm.settings and "lr" not in arm.settings and self.eta_over_b is None:
            chosen["lr"] = None
        return Trial(arm=arm.name, remedies=tuple(arm.remedies), **chosen)

    def _designs(self) -> list[ArmDesign]:
        templates, _ = _with_overrides({arm.name: self._template(arm) for arm in self.arms}, self.overrides)
        return designs_of(self, templates)

    def description(self) -> dict[str, str]:
        """Return what fixes the meaning of a run, as flat text: two spaces are the same exactly when these are."""
        flat: dict[str, str] = {}
        for name in ("split_seeds", "sampler", "metrics", "metrics_on", "seed", "baseline", "reference"):
            flat[name] = json.dumps(identity(getattr(self, name)), sort_keys=True)
        if self.walk is not None:
            flat["walk"] = json.dumps(identity(self.walk), sort_keys=True)
        if self.watch is not None:
            flat["watch"] = json.dumps(identity(self.watch), sort_keys=True)
        if self.execution != "auto":
            flat["execution"] = json.dumps(self.execution)
        if self.microbatch != AUTO:
            flat["microbatch"] = json.dumps(self.microbatch)
        for design in self.designs():
            template = identity(design.template)
            for key, value in template.items():
                flat[f"arm {design.name}: {key}"] = json.dumps(value, sort_keys=True)
            flat[f"arm {design.name}: combines"] = json.dumps(design.combines)
        return flat

    def hash(self) -> str:
        """Return a hash of the description."""
        return hashlib.sha256(json.dumps(self.description(), sort_keys=True).encode()).hexdigest()[:16]


def _with_overrides(
    templates: dict[str, Trial], changes: Sequence[tuple[str, Any]]
) -> tuple[dict[str, Trial], list[str]]:
    found = []
    templates = dict(templates)
    for key, value in changes:
        arms = {name: key for name, template in templates.items() if key in field_names(template)}
        head, _, tail = key.partition(".")
        if not arms and head in templates and tail in field_names(templates[head]):
            arms = {head: tail}
        if not arms:
            known = set(EXTENDABLE) | {name for template in templates.values() for name in field_names(template)}
            found.append(f"{key}={value}: no field of the space or of an arm has that name{nearest(key, known)}")
        for arm, name in arms.items():
            change = {name: value}
            if name in ("lr", "eta_over_b"):
                change["eta_over_b" if name == "lr" else "lr"] = None
            templates[arm] = templates[arm].resolved(change)
    return templates, found


def field_names(template: Trial) -> list[str]:
    """Return the names under which fields of a trial can be overridden: its own scalars, and those of its parts."""
    own = ["batch_size", "lr", "eta_over_b", "precision"]
    return own + template.part_fields()

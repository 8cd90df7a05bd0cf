"""What was asked: the arms of a run and how they are compared, read from its space.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DERIVED_ROLES = ("copied", "scaled")
UNTESTED_ROLES = ("baseline", "reference", "placebo", *DERIVED_ROLES)
"""Arms that are there to compare with: nothing is claimed of them. Under the old design the compute-matched ones were tested."""
OUTSIDE_ROLES = (*UNTESTED_ROLES, "compute_matched")
"""The same in a run of blocks: the family of what is tested are the other arms."""


@dataclass(frozen=True)
class AskedArm:
    """One arm as it was asked for; the fields are those of space.json."""

    name: str
    role: str = "arm"
    batch_size: int | None = None
    remedies: tuple[str, ...] = ()
    dimensions: Mapping[str, Mapping[str, Any]] | None = None
    num_samples: int | None = None
    cost: float = 1.0
    shares_points: bool = True
    matched_by: str | None = None
    own_test_part: bool = False
    """Whether it has other test examples than the run's other arms: it is then not compared example by example."""

    @property
    def shares_draws(self) -> bool:
        """True where the arm has the same seeds as the others (all but the placebo), so that members pair by seed."""
        return self.role != "placebo" and (self.shares_points or self.role in DERIVED_ROLES)

    @property
    def searched(self) -> bool:
        """False for the derived arms, which take the baseline's configuration and search nothing."""
        return self.role not in DERIVED_ROLES


@dataclass(frozen=True)
class Design:
    """The numbers of a run of blocks: n points, q candidates, r blocks to decide, S blocks of m seeds to confirm."""

    num_samples: int
    candidates: int
    decide_blocks: int
    confirm_blocks: int
    """Or at most so many, with `half_width`."""
    block_seeds: int
    measured_blocks: int
    fresh_splits: bool
    half_width: float | None = None
    """Points of test error: blocks are added until no interval is wider on either side."""
    early: bool = False
    """Whether arms stopped as soon as they were told from the reference, at the levels of O'Brien and Fleming."""
    extended_from: tuple[int, ...] = ()
    """The confirm_blocks with which the run had been finished before it was extended."""
    searched_before: tuple[int, ...] = ()
    """The num_samples with which the run had been asked for before it was extended."""


@dataclass(frozen=True)
class Asked:
    """The protocol of a run, as far as the tables need it; None where space.json does not say."""

    name: str
    question: str
    baseline: str | None
    reference: str | None
    placebo: str | None
    arms: tuple[AskedArm, ...]
    split_seeds: tuple[int, ...]
    confirm_seeds: int | None
    sampler: str | None
    exchangeable: bool
    """Whether the sampler's configurations could have come in any order: only then may they be drawn again."""
    enumerates: bool
    """Whether the sampler goes through every combination: there is then no other draw of configurations."""
    scheduler: str | None
    metrics: tuple[str, ...]
    num_train: int | None
    num_validation: int | None
    num_test: int | None
    num_classes: int | None
    own_test_split: bool
    selected_trials: frozenset[str]
    """Of a run of the old design."""
    data: str
    select_by: str = "error"
    """What a trial is selected by, over its validation examples: error, loss, or auto (loss, then loss and soft error)."""
    error: str | None = None
    """What errors are, where they are no shares of misclassified examples."""
    is_share: bool = True
    ties_decided: bool = False
    """Whether the other of the two decided between equal trials; in runs of before the first one was taken."""
    design: Design | None = None
    """None for a run of the old design."""
    rows: tuple[str, ...] = ()
    """Rows of the papers that the space repeats."""
    differs: tuple[str, ...] = ()
    """What is not as published in them."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """Arm -> name of its network's type."""
    selected_configurations: Mapping[str, str] = field(default_factory=dict)
    objectives: tuple[str, ...] = ()
    """What the sampler sought, where that is other than a low validation loss; -name: a high one."""
    points: int = 0
    """Configurations that were given, to be tried first."""
    looks: tuple[float, ...] = ()
    """Shares of a training after which configurations of a search were stopped early; empty: none were."""

    def arm(self, name: str) -> AskedArm:
        """The arm of that name; one that only the result files know has the defaults."""
        return next((arm for arm in self.arms if arm.name == name), AskedArm(name))

    def order(self, names: list[str]) -> list[str]:
        """The names in the order of space.json, those that it does not know last."""
        known = [arm.name for arm in self.arms]
        return [name for name in known if name in names] + sorted(set(names) - set(known))

    @property
    def searches(self) -> bool:
        """Whether any arm has a value to find; else the whole procedure is these recipes."""
        return any(arm.dimensions for arm in self.arms)

    @property
    def searches_resampled(self) -> bool:
        """Whether trials can be resampled: not where a sampler learns from them, or a scheduler stops some because of others."""
        return self.exchangeable and not self.scheduler

    def named(self, role: str) -> str | None:
        """The name of the first arm in that role, None where the space has none."""
        return next((arm.name for arm in self.arms if arm.role == role), None)


def is_of_blocks(space: Mapping[str, Any]) -> bool:
    """Whether a run is of the new design; else it is reported by the old rules (analysis/old_design)."""
    return space.get("procedure") == "blocks"


def read_asked(space: Mapping[str, Any]) -> Asked:
    """Read the protocol from the contents of space.json."""
    data, sampler = space.get("data") or {}, space.get("sampler")
    blocks, selected = is_of_blocks(space), space.get("selected") or {}
    arms = tuple(_arm(entry) for entry in space.get("arms") or ())
    by_role = {arm.role: arm.name for arm in reversed(arms)}
    return Asked(
        name=str(space.get("name", "")),
        question=str(space.get("question") or ""),
        baseline=space.get("baseline", by_role.get("baseline")),
        reference=space.get("reference", by_role.get("reference")),
        placebo=space.get("placebo", by_role.get("placebo")),
        arms=arms,
        split_seeds=tuple(space.get("split_seeds") or ()),
        confirm_seeds=space.get("confirm_seeds"),
        sampler=sampler,
        # runs of version 0.1.0 give the sampler's name alone
        exchangeable=bool(space.get("exchangeable", sampler != "tpe")),
        enumerates=bool(space.get("enumerates", sampler == "grid")),
        scheduler=space.get("scheduler"),
        metrics=tuple(space.get("metrics") or ()),
        num_train=data.get("num_train"),
        num_validation=data.get("num_validation"),
        num_test=data.get("num_test"),
        num_classes=data.get("num_classes"),
        own_test_split=bool(data.get("own_test_split", True)),
        selected_trials=frozenset(id for splits in selected.values() if not blocks for id in splits.values()),
        data=str(data.get("name", "")),
        select_by=str(space.get("select_by", "auto" if blocks else "error")),
        error=(space.get("error") or {}).get("title"),
        is_share=bool((space.get("error") or {}).get("is_share", True)),
        ties_decided=bool(space.get("ties_decided", False)),
        design=_design(space) if blocks else None,
        rows=tuple(space.get("rows") or ()),
        differs=tuple(space.get("differs") or ()),
        networks=_networks(space.get("resolved") or {}),
        selected_configurations={str(arm): str(id) for arm, id in selected.items()} if blocks else {},
        objectives=tuple(space.get("objectives") or ()),
        points=int(space.get("points") or 0),
        looks=tuple((space.get("stopping") or {}).get("looks") or ()),
    )


def _networks(resolved: Mapping[str, str]) -> dict[str, str]:
    """The types of the arms' networks: "arm sam: model" is JSON with the whole name of a type."""
    found = {}
    for key, text in resolved.items():
        name = key.removeprefix("arm ").removesuffix(": model")
        if key == f"arm {name}: model":
            model = json.loads(text)
            kind = model.get("type") if isinstance(model, dict) else None
            found[name] = str(kind or model).rpartition(".")[2]
    return found


def _design(space: Mapping[str, Any]) -> Design:
    until = space.get("confirm_blocks", 0)
    number = int(until.get("max_blocks", 0) if isinstance(until, Mapping) else until or 0)
    samples = int(space.get("num_samples") or 1)
    return Design(
        num_samples=samples,
        candidates=int(space.get("candidates") or 1),
        decide_blocks=int(space.get("decide_blocks") or 0),
        confirm_blocks=number,
        block_seeds=int(space.get("block_seeds") or 1),
        measured_blocks=int(space.get("measured_blocks") or 0),
        fresh_splits=bool(space.get("fresh_splits", True)),
        half_width=float(until["half_width"]) if isinstance(until, Mapping) else None,
        early=bool(until.get("early")) if isinstance(until, Mapping) else False,
        extended_from=tuple(
            int(before["confirm_blocks"])
            for before in space.get("extended") or ()
            if isinstance(before.get("confirm_blocks"), int) and before["confirm_blocks"] < number
        ),
        searched_before=tuple(
            int(before["num_samples"])
            for before in space.get("extended") or ()
            if before.get("num_samples", samples) < samples
        ),
    )


def _arm(entry: Mapping[str, Any]) -> AskedArm:
    return AskedArm(
        name=entry["name"],
        role=entry.get("role", "arm"),
        batch_size=entry.get("batch_size"),
        remedies=tuple(entry.get("remedies") or ()),
        dimensions=entry.get("dimensions") or {},
        num_samples=entry.get("num_samples"),
        cost=float(entry.get("cost") or 1.0),
        shares_points=bool(entry.get("shares_points", True)),
        matched_by=entry.get("matched_by"),
        own_test_part=bool(entry.get("own_test_part", False)),
    )

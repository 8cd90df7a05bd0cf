"""The description of a run, as its space.json holds it: all that the analysis needs beside the tables."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from tune_lb.data.dataset import DataSet
from tune_lb.results.columns import SCHEMA_VERSION
from tune_lb.search.data_facts import DataFacts, fresh_splits
from tune_lb.space.data_sets import all_sources
from tune_lb.space.description import description
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.space.until import Until
from tune_lb.training.part_lists import in_rows, part_lists
from tune_lb.tuning.data_loading import LoadedData, with_other_test_part
from tune_lb.tuning.replay import PROCEDURE
from tune_lb.tuning.request import Request
from tune_lb.tuning.run_context import RunContext

EXTENDED = ("num_samples", "confirm_blocks", "block_seeds")
"""Fields whose change between two calls is kept: members came that were not asked for at first."""

DESIGN = (*EXTENDED, "candidates", "decide_blocks", "measured_blocks", "watched_blocks")


def run_description(
    request: Request,
    designs: Sequence[ArmDesign],
    context: RunContext,
    facts: DataFacts,
    selected: Mapping[str, str] | None = None,
    extended: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return space.json: what was asked, what it was resolved to, and what is selected so far, by arm.

    extended: what earlier calls of the run had asked for in place of EXTENDABLE fields, oldest first.
    """
    space = request.space
    loaded = LoadedData(next(iter(all_sources(space, designs).values())), context.data, context.other_data)
    apart = with_other_test_part(loaded, designs)
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": request.name,
        "question": space.question,
        "rows": list(space.rows),
        "differs": list(space.differs),
        "hash": context.space_hash,
        "asked": dict(request.asked),
        "resolved": description(space),
        "written_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "baseline": space.baseline,
        "reference": space.reference,
        "placebo": next((d.name for d in designs if d.role == "placebo"), None),
        "arms": [_arm(design) | ({"own_test_part": True} if design.name in apart else {}) for design in designs],
        "procedure": PROCEDURE,
        **design_of(space),
        "fresh_splits": fresh_splits(space.fresh_splits, facts),
        "select_by": space.select_by,
        "extended": [dict(entry) for entry in extended],
        "sampler": space.sampler.name,
        "exchangeable": space.sampler.exchangeable and not space.points and space.stopping is None,
        "enumerates": space.sampler.enumerates,
        "scheduler": None,
        "metrics": [metric.name for metric in space.metrics],
        "data": {
            **_data(loaded.main),
            "own_test_split": loaded.source.has_own_test_split(),
            "fingerprints": {"0": facts.fingerprint},
        },
        "execution": dict(context.execution),
        "code": dict(context.code),
        "selected": dict(selected or {}),
    }
    if space.points:
        found["points"] = len(space.points)
    if space.stopping is not None:
        found["stopping"] = {**dataclasses.asdict(space.stopping), "looks": list(space.stopping.looks)}
    if space.objectives:
        found["objectives"] = list(space.objectives)
    if context.error is not None:
        is_share = space.error is None or space.error.is_share
        found["error"] = {"title": context.error, "is_share": is_share}
    if loaded.others:
        found["other_data"] = {
            name: _data(sets) | {"fingerprints": {"0": facts.others[name].fingerprint}}
            for name, sets in loaded.others.items()
        }
    return found


def design_of(space: Space) -> dict[str, Any]:
    """Return the numbers of the procedure, by the names of the space's fields."""
    return {name: _plain(getattr(space, name)) for name in DESIGN}


def extensions(known: Mapping[str, Any] | None, space: Space) -> list[dict[str, Any]]:
    """Return how a run was asked for before, oldest first, where that was with other blocks or seeds. known: its space.json.

    An entry holds the fields as they were (num_samples, confirm_blocks, block_seeds) and, as `at`, when the run was last written
    with them.
    """
    if known is None:
        return []
    before = {name: known[name] for name in EXTENDED}
    changed = before != {name: _plain(getattr(space, name)) for name in EXTENDED}
    return [*known.get("extended", []), *([{"at": known["written_at"], **before}] if changed else [])]


def _plain(value: Any) -> Any:
    """Return a field as JSON has it: Until as its fields."""
    return dataclasses.asdict(value) if isinstance(value, Until) else value


def _data(sets: Mapping[int, DataSet]) -> dict[str, Any]:
    first = next(iter(sets.values()))
    return {
        "name": first.name,
        "num_train": len(first.train.targets),
        "num_validation": len(first.validation.targets),
        "num_test": len(first.test.targets),
        "num_classes": first.num_classes,
    }


def _arm(design: ArmDesign) -> dict[str, Any]:
    return {
        "name": design.name,
        "role": design.role,
        # where it is searched it is among the dimensions
        "batch_size": design.template.batch_size if isinstance(design.template.batch_size, int) else None,
        "remedies": [
            *(remedy.name for remedy in design.template.remedies),
            *(" or ".join(one.alternatives) for one in part_lists(design.template) if one.field == "remedies"),
        ],
        "dimensions": {name: in_rows(name, domain).as_json() for name, domain in design.dimensions.items()},
        "num_samples": design.num_samples,
        "cost": design.template.evaluations_per_update,
        "shares_points": design.shares_points,
        "matched_by": design.matched_by,
        "combines": list(design.combines),
    }

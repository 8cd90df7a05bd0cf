"""How far an arm of a search is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tune_lb.search.job import STAGES
from tune_lb.space.designs import ArmDesign


@dataclass(frozen=True)
class ArmProgress:
    """How far one arm is, in members; confirmed: those of the last stage.

    best: lowest validation loss (or error, where that selects) of its search.
    """

    name: str
    role: str
    stage: str
    done: int
    total: int
    best: float | None
    confirmed: int = 0


def arm_progress(
    design: ArmDesign, done: Mapping[str, int], total: Mapping[str, int], values: Iterable[float]
) -> ArmProgress:
    """Return how far an arm is. done, total: members by stage. values: what its searched configurations are ranked by."""
    stage = next((s for s in STAGES if done[s] < total[s]), "done")
    best = min((value for value in values if math.isfinite(value)), default=None)
    numbers = sum(done.values()), sum(total.values()), best, done["confirm"]
    return ArmProgress(design.name, design.role, stage, *numbers)

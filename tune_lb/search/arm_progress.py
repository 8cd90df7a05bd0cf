"""How far an arm of a search is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArmProgress:
    """How far one arm is, in members. best: lowest validation loss (or error, where that selects) of its search."""

    name: str
    role: str
    stage: str
    done: int
    total: int
    best: float | None

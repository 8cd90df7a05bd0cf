"""How far an arm of a search is."""

from __future__ import annotations

from dataclasses import dataclass


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

"""How a search ended, and what was set aside on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

from tune_lb.results.damage import FOLDER
from tune_lb.results.storage import Store


@dataclass(frozen=True)
class Ending:
    """How a search ended: done, partial (some members failed), stopped (every worker died) or interrupted."""

    status: str
    members: int
    failed: int
    failures: list[str]
    """Why members failed or, where it was stopped, why workers died; one line each."""
    left_out: list[str]
    """One line per result file that could not be used."""
    unmeasured: dict[str, int] = field(default_factory=dict)
    """By metric the members that the search was killed over while it measured them."""
    damaged: list[str] = field(default_factory=list)
    """One line per damaged file that was set aside."""
    cut: tuple[str, ...] = ()
    """What was cut to end in time, a line each."""
    missing: int = 0
    """Members of the search that were not asked for (`retry`), and are neither there nor failed."""


def set_aside_since(run: Store, before: set[str]) -> list[str]:
    """Return a line for each checkpoint that a worker could not go on from."""
    names = [name for name in run.child(FOLDER, "checkpoints").list() if name not in before]
    return [
        f"checkpoints/{name} was damaged; it is set aside in {run.location}/{FOLDER}, and its members began anew"
        for name in names
    ]

"""Which members of a search were stopped early for good, and which wait for a look to be decided: from their rows alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

STOPPED = "stopped"


def loss_columns(names: Iterable[str]) -> list[str]:
    """Return which of these columns hold the validation loss of a member at a look."""
    return [name for name in names if name.startswith("look") and name.endswith(".validation_loss")]


def looks_passed(row: Mapping[str, Any]) -> int:
    """Return at how many looks a member was seen."""
    return next(k for k in itertools.count() if row.get(f"look{k + 1}.validation_loss") is None)


def waiting(rows: Iterable[Mapping[str, Any]]) -> set[tuple[str, int]]:
    """Return the members, (trial_id, seed), that may go on: those at the last look to which any of their arm came.

    All of an arm are waited for at a look, so where one came farther it is decided who goes on.
    """
    found: list[tuple[str, int, tuple[str, int]]] = []
    farthest: dict[str, int] = {}
    for row in rows:
        if row["stage"] == "search" and row["status"] in (STOPPED, "completed"):
            passed = looks_passed(row) + (row["status"] != STOPPED)
            farthest[row["arm"]] = max(farthest.get(row["arm"], 0), passed)
            if row["status"] == STOPPED:
                found.append((row["arm"], passed, (row["trial_id"], row["seed"])))
    return {key for arm, passed, key in found if passed == farthest[arm]}

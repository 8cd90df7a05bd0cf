"""The best configurations of a run, as points for another space to try first."""

from __future__ import annotations

import math
import os
from typing import Any

from tune_lb.errors import RequestError
from tune_lb.results.run_files import read_members, read_space
from tune_lb.results.storage import Store
from tune_lb.results.stored_dimensions import is_there


def points_of(run: str | os.PathLike[str], best: int = 1) -> tuple[dict[str, Any], ...]:
    """Return the best configurations that each arm of a run searched: Space(points=points_of("runs/digits", best=3)).

    run: the folder of the run, or its URI. By validation loss in the search stage, the lowest first; each is for the arm of that
    name alone. Values that are no numbers are texts, as in the rows. Raises RequestError where there is no such run.
    """
    store = Store(run)
    if not store.exists("space.json"):
        raise RequestError(f"points_of({str(run)!r}): there is no run in {store.location}")
    arms: dict[str, dict[str, Any]] = {
        entry["name"]: entry.get("dimensions") or {} for entry in read_space(store)["arms"]
    }
    rows = [
        row
        for row in read_members(store)[0].to_pylist()
        # what was stopped early was seen at another moment than whole trainings
        if row["stage"] == "search"
        and row["status"] != "stopped"
        and row.get("validation_loss") is not None
        and math.isfinite(row["validation_loss"])
    ]
    found: list[dict[str, Any]] = []
    for arm, domains in arms.items():
        own = sorted((row for row in rows if row["arm"] == arm), key=lambda row: float(row["validation_loss"]))
        values = [
            {
                "arm": arm,
                **{name: row[name] for name, d in domains.items() if row.get(name) is not None and is_there(d, row)},
            }
            for row in own
        ]
        different = [point for i, point in enumerate(values) if point not in values[:i]]
        found += different[:best] if domains else []
    return tuple(found)

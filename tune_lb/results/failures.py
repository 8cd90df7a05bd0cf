"""Members that failed and were not trained since: by their rows, and by what the driver recorded when a worker died."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tune_lb.results.code_versions import counts
from tune_lb.results.columns import FINISHED
from tune_lb.results.ledger import Ledger
from tune_lb.results.run_files import read_members
from tune_lb.results.storage import Store

COLUMNS = ("trial_id", "seed", "status", "arm", "error")


def failed_members(store: Store, known: Mapping[str, Any]) -> dict[tuple[str, int], str]:
    """Return why each failed member has none of its results, by (trial_id, seed), with the arm in front.

    known: the run's space.json. Members of code that has changed since are left out.
    """
    members, _ = read_members(store)
    columns = [name for name in (*COLUMNS, "code") if name in members.schema.names]
    rows = members.select(columns).to_pylist()
    finished = {(row["trial_id"], row["seed"]) for row in rows if row["status"] in FINISHED}
    found: dict[tuple[str, int], str] = {}
    for event in Ledger(store.child("ledger")).events():
        if event.event.startswith("failed."):
            for name in event.facts.get("members", []):
                trial_id, _, seed = str(name).rpartition(".")
                found[trial_id, int(seed)] = str(event.facts.get("reason", ""))
    for row in rows:
        if counts(row, known.get("code", {})):
            found[row["trial_id"], row["seed"]] = f"arm {row['arm']!r}: {row['error']}"
        else:
            found.pop((row["trial_id"], row["seed"]), None)
    return {key: reason for key, reason in found.items() if key not in finished}

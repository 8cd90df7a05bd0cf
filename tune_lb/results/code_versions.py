"""Code versions: with which code of the user's each row was trained, and which rows count.

space.json has under "code", by arm: `fingerprint`, a hash of the code as it is; `first`, that of the code that the run was begun
with; `definitions`, the hashes of its functions and classes. A row's column `code` is the fingerprint that it was trained with;
rows of runs that were begun before there was one have none, and count as those of `first`. Rows of other code never count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Versions = Mapping[str, Mapping[str, Any]]
"""What space.json has under "code"; {} for a run that was begun before."""


def salts(versions: Versions) -> dict[str, str]:
    """Return what is added to the data's fingerprint in the trial ids of arms with changed code; nothing for the first code.

    So trials of changed code are other trials, whose files lie beside those of the old.
    """
    return {
        arm: f"+{entry['fingerprint']}" for arm, entry in versions.items() if entry["fingerprint"] != entry["first"]
    }


def counts(row: Mapping[str, Any], versions: Versions) -> bool:
    """Say whether a row of the members table was trained with its arm's code as it is. row: with arm and code."""
    entry = versions.get(row["arm"])
    code = row.get("code")
    # a frame has NaN for what is missing
    return entry is None or (code if isinstance(code, str) else entry["first"]) == entry["fingerprint"]


def old_members(rows: Iterable[Mapping[str, Any]], versions: Versions) -> dict[str, int]:
    """Return by arm how many rows were trained with other code than the arm has."""
    found: dict[str, int] = {}
    for row in rows:
        if not counts(row, versions):
            found[row["arm"]] = found.get(row["arm"], 0) + 1
    return found

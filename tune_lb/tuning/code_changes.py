"""Changed code: what the user's functions and classes are now beside what they were when a run was begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tune_lb.errors import RequestError
from tune_lb.results.code_versions import Versions
from tune_lb.space.changes import MAX_LINES
from tune_lb.space.own_code import Code, differences, fingerprint


def code_versions(
    name: str, codes: Mapping[str, Code], known: Mapping[str, Any] | None, *, accepted: bool = False
) -> tuple[Versions, list[str]]:
    """Return the versions of each arm's code, for space.json, and what is to be said of them.

    codes: what the trials of each arm use. known: space.json of the run as it is, None for a new one. Raises RequestError, with
    the names of what changed, where code that the run's trials use has changed and that is not accepted.
    """
    before: Versions = (known or {}).get("code", {})
    versions = {}
    for arm, code in codes.items():
        now = fingerprint(code)
        first = before[arm]["first"] if arm in before else now
        versions[arm] = {"fingerprint": now, "first": first, "definitions": dict(code)}
    lines = changed_code(before, versions)
    if lines and not accepted:
        head = f"run {name!r} was made with other code; its results cannot be mixed. What changed:"
        tail = "put it back, take another --name, or --accept-code-change: the arms named are then trained anew"
        raise RequestError("\n".join([head, *(f"  {line}" for line in lines[:MAX_LINES]), tail]))
    notes = [f"{line}; what it was trained with before is left out" for line in lines]
    if known is not None and "code" not in known and any(codes.values()):
        notes.append("the run was begun before code was recorded: its members are taken to be of the code as it is now")
    return versions, notes


def changed_code(before: Versions, now: Versions) -> list[str]:
    """Return a line for each definition that differs, with the arms that use it."""
    concerned: dict[str, list[str]] = {}
    for arm, entry in now.items():
        if arm in before:
            for line in differences(before[arm]["definitions"], entry["definitions"]):
                concerned.setdefault(line, []).append(arm)
    return [f"{line} ({_named(arms, len(now))})" for line, arms in concerned.items()]


def _named(arms: Sequence[str], num_arms: int) -> str:
    return "every arm" if len(arms) == num_arms > 1 else f"arm{'s' * (len(arms) > 1)} {', '.join(arms)}"

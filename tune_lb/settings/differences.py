"""What differs between descriptions of spaces: field by field, each value as a space has it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tune_lb.settings.domain import Choice, Interval
from tune_lb.settings.identity import name_in_identities
from tune_lb.settings.stored_names import STORED

INTERVAL, CHOICE = name_in_identities(Interval), name_in_identities(Choice)

Leaves = dict[str, Any]


def parted(description: Mapping[str, str]) -> tuple[Leaves, dict[str, Leaves]]:
    """Return the fields of a space, and those of each arm, as trees of plain values. description: what space.json resolved to."""
    space: Leaves = {}
    arms: dict[str, Leaves] = {}
    for key, text in description.items():
        own = re.fullmatch(r"arm (\w+): (\w+)", key)
        if own is None:
            space[key] = json.loads(text)
        elif own[2] not in ("type", "arm"):
            arms.setdefault(own[1], {})[own[2]] = json.loads(text)
    return space, arms


def differing(trees: Sequence[Leaves], plain: Collection[str] = (), path: str = "") -> list[tuple[str, ...]]:
    """Return (path, value in each tree) of every leaf that differs; a part of another type, or that some lack, is one leaf.

    plain: names of parts whose fields stand without the part's name.
    """
    found: list[tuple[str, ...]] = []
    for key in dict.fromkeys(key for tree in trees for key in tree):
        values = [tree.get(key, ...) for tree in trees]
        if all(value == values[0] for value in values[1:]):
            continue
        place = path if key in plain and not path else f"{path}{key}."
        if all(map(_is_part, values)) and len({value["type"] for value in values}) == 1:
            found += differing(values, plain, place)
            continue
        lists = [_by_name(value) for value in values]
        parts = [part for part in lists if part is not None]
        if len(parts) == len(values):
            if any(part.keys() != parts[0].keys() for part in parts):
                found.append((f"{path}{key}", *(", ".join(part) or "none" for part in parts)))
            common = [name for name in parts[0] if all(name in part for part in parts)]
            # the fields of a remedy or a metric are known by its name
            found += differing([{name: part[name] for name in common} for part in parts], plain, path)
            continue
        found.append((f"{path}{key}", *map(as_written, values)))
    return found


def as_written(value: Any) -> str:
    """Return a value as a space has it: over(0.02, 1.0, log=True), MLP(hidden=[128]), 32; "absent" for none at all."""
    if value is ...:
        return "absent"
    if isinstance(value, list):
        return f"[{', '.join(map(as_written, value))}]"
    if not isinstance(value, dict):
        return str(value)
    fields = {key: entry for key, entry in value.items() if key != "type"}
    name = str(value.get("type", "")).rpartition(".")[2]
    if value.get("type") == INTERVAL:
        flags = "".join(f", {flag}=True" for flag in ("log", "integer") if fields.get(flag))
        return f"over({fields['low']}, {fields['high']}{flags})"
    if value.get("type") == CHOICE:
        return f"over({as_written(fields['values'])})"
    return f"{name}({', '.join(f'{key}={as_written(entry)}' for key, entry in fields.items())})"


def _is_part(value: Any) -> bool:
    """Say whether a value has fields of its own; a domain is a value."""
    return isinstance(value, dict) and "type" in value and value["type"] not in (INTERVAL, CHOICE)


def _by_name(value: Any) -> dict[str, Any] | None:
    """Return a list of remedies or metrics by their names; None for what is no such list."""
    if not isinstance(value, list) or not all(_is_part(entry) for entry in value):
        return None
    named = {_name(str(entry["type"])): entry for entry in value}
    return named if len(named) == len(value) else None


def _name(kind: str) -> str:
    """Return the name of a remedy or metric from that of its type: of those of 0.1.0 it is their module's, else the class's."""
    module, _, name = kind.rpartition(".")
    if kind in STORED.values():
        return module.rpartition(".")[2]
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

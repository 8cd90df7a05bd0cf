"""Changes: what differs between the space that a run was made of and the one that is asked for now, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tune_lb.errors import RequestError
from tune_lb.settings.domain import Choice, Interval
from tune_lb.settings.identity import name_in_identities
from tune_lb.settings.stored_names import STORED
from tune_lb.training.trial_columns import PLAIN_PREFIXES

MAX_LINES = 12
INTERVAL, CHOICE = name_in_identities(Interval), name_in_identities(Choice)

Leaves = dict[str, Any]


def refuse_changed(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Raise RequestError, with every difference, where a run exists with another space (`description` of both).

    More num_samples are no other space: the configurations that are there are the first of them.
    """
    lines = changes({**old, "num_samples": new["num_samples"]} if _searches_more(old, new) else old, new)
    if not lines:
        return
    more = [f"and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    head = f"run {name!r} exists with another space; its results cannot be mixed. What differs:"
    tail = "take another --name, or --fresh to delete what is there and start again"
    raise RequestError("\n".join([head, *(f"  {line}" for line in lines[:MAX_LINES] + more), tail]))


def _searches_more(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    before, now = (json.loads(of.get("num_samples", "0")) for of in (old, new))
    return bool(0 < before < now)


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return one line for each field that differs, as it would be written in a space; what all arms share stands once."""
    (space, arms), (other_space, other_arms) = _parted(old), _parted(new)
    lines = [
        f"arms {what}: {', '.join(names)}"
        for what, names in (
            ("that are new", [arm for arm in other_arms if arm not in arms]),
            ("that are gone", [arm for arm in arms if arm not in other_arms]),
        )
        if names
    ]
    lines += [f"{path}: was {was}, now {now}" for path, was, now in _different(space, other_space)]
    both = [arm for arm in arms if arm in other_arms]
    found = {arm: _different(arms[arm], other_arms[arm]) for arm in both}
    everywhere = [change for change in found[both[0]] if all(change in found[arm] for arm in both)] if both[1:] else []
    lines += [f"arms.*.{path}: was {was}, now {now}" for path, was, now in everywhere]
    for arm in both:
        for path, was, now in found[arm]:
            if (path, was, now) not in everywhere:
                # an arm that is called like its remedy
                place = path if path.startswith(f"{arm}.") else f"{arm}.{path}"
                lines.append(f"arms.{place}: was {was}, now {now}")
    return lines


def _parted(description: Mapping[str, str]) -> tuple[Leaves, dict[str, Leaves]]:
    """Return the fields of the space, and those of each arm, as trees of plain values."""
    space: Leaves = {}
    arms: dict[str, Leaves] = {}
    for key, text in description.items():
        own = re.fullmatch(r"arm (\w+): (\w+)", key)
        if own is None:
            space[key] = json.loads(text)
        elif own[2] not in ("type", "arm"):
            arms.setdefault(own[1], {})[own[2]] = json.loads(text)
    return space, arms


def _different(old: Leaves, new: Leaves, path: str = "") -> list[tuple[str, str, str]]:
    """Return (path, was, now) of every leaf that differs; a part of another type, or that came or went, is one leaf."""
    found: list[tuple[str, str, str]] = []
    for key in dict.fromkeys([*old, *new]):
        was, now = old.get(key, ...), new.get(key, ...)
        if was == now:
            continue
        place = path if key in PLAIN_PREFIXES and not path else f"{path}{key}."
        if _is_part(was) and _is_part(now) and was["type"] == now["type"]:
            found += _different(was, now, place)
            continue
        parts = [_by_name(value) for value in (was, now)]
        if parts[0] is not None and parts[1] is not None:
            if parts[0].keys() != parts[1].keys():
                names = [", ".join(part) or "none" for part in parts if part is not None]
                found.append((f"{path}{key}", names[0], names[1]))
            common = [name for name in parts[0] if name in parts[1]]
            # the fields of a remedy or a metric are known by its name
            found += _different({n: parts[0][n] for n in common}, {n: parts[1][n] for n in common}, path)
            continue
        found.append((f"{path}{key}", _text(was), _text(now)))
    return found


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


def _text(value: Any) -> str:
    """Return a value as a space has it: over(0.02, 1.0, log=True), MLP(hidden=[128]), 32; "absent" for none at all."""
    if value is ...:
        return "absent"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if not isinstance(value, dict):
        return str(value)
    fields = {key: entry for key, entry in value.items() if key != "type"}
    name = str(value.get("type", "")).rpartition(".")[2]
    if value.get("type") == INTERVAL:
        flags = "".join(f", {flag}=True" for flag in ("log", "integer") if fields.get(flag))
        return f"over({fields['low']}, {fields['high']}{flags})"
    if value.get("type") == CHOICE:
        return f"over({_text(fields['values'])})"
    return f"{name}({', '.join(f'{key}={_text(entry)}' for key, entry in fields.items())})"

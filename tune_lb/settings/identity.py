"""Identity of settings: what is hashed into a trial's id, and the short text that stands for a value in a row.

Types are named by where users find them, not by where their files lie: see `name_in_identities`.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any

from tune_lb.settings.domain import Choice, Interval
from tune_lb.settings.plain import plain
from tune_lb.settings.setting import Settings
from tune_lb.settings.stored_names import STORED


def identity(value: Any) -> Any:
    """Return the value as JSON in which types are named (name_in_identities): equal exactly when the values mean the same."""
    value = plain(value)
    if isinstance(value, Settings | Interval | Choice) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    ):
        fields = {
            field.name: identity(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not (field.metadata.get("added_later") and getattr(value, field.name) == field.default)
        }
        return {"type": name_in_identities(type(value)), **fields}
    if isinstance(value, tuple | list):
        return [identity(entry) for entry in value]
    if isinstance(value, dict):
        return {str(key): identity(entry) for key, entry in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, functools.partial):
        return {
            "type": "functools.partial",
            "of": identity(value.func),
            "given": identity([value.args, value.keywords]),
        }
    name = getattr(value, "__qualname__", "<nameless>")
    if "<" not in name:
        return f"{value.__module__}.{name}"
    raise TypeError(
        f"{' '.join(repr(value).split()):.80} cannot be told from another: give a function or class of a module, or a frozen "
        "dataclass, not an instance of another class"
    )


def name_in_identities(kind: type) -> str:
    """Return the name of a type in identities: for ours the one that it was first stored under, else its public name.

    The public name is that of the face it is imported from (tune_lb.remedies.SAM); a type of the user's is named by its module.
    """
    module, name = kind.__module__, kind.__qualname__
    package = module.rpartition(".")[0]
    for place in (package, "tune_lb") if module.startswith("tune_lb.") and package != "tune_lb" else ():
        if name in getattr(sys.modules[place], "__all__", ()):
            return STORED.get(f"{place}.{name}", f"{place}.{name}")
    return STORED.get(f"{module}.{name}", f"{module}.{name}")


def callable_problems(value: Any) -> list[str]:
    """Say why a function, class or object cannot stand in a setting: it has no name, or holds what is searched where none looks."""
    given: dict[Any, Any] = {}
    if isinstance(value, functools.partial):
        given = {**dict(enumerate(value.args)), **value.keywords}
    elif dataclasses.is_dataclass(value) and not isinstance(value, Settings | type):
        given = vars(value)
    hidden = [name for name, held in given.items() if isinstance(held, Interval | Choice)]
    if hidden:
        what = f"over(...) for {hidden[0]} is not seen in a {type(value).__name__}"
        return [f"{what}: write a frozen dataclass that derives from tune_lb.Settings"]
    try:
        identity(value)
    except TypeError as error:
        return [str(error)]
    return []


def describe(value: Any) -> str:
    """Return a short text for a row: MLP(hidden=(128, 128, 128)), fields at their defaults left out."""
    if isinstance(value, Interval | Choice):
        return str(value)
    value = plain(value)
    if isinstance(value, functools.partial):
        given = [_shown(entry) for entry in value.args] + [f"{name}={_shown(v)}" for name, v in value.keywords.items()]
        return f"{describe(value.func)}({', '.join(given)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [
            f"{field.name}={_shown(getattr(value, field.name))}"
            for field in dataclasses.fields(value)
            if getattr(value, field.name) != field.default
        ]
        return f"{type(value).__name__}({', '.join(fields)})"
    return str(getattr(value, "__name__", value))


def _shown(value: Any) -> str:
    """Return the text of a value inside another: functions by name, as their address differs from process to process."""
    named = callable(value) and (hasattr(value, "__name__") or isinstance(value, functools.partial))
    return describe(value) if named else repr(value)

"""Settings: frozen dataclasses whose fields know their unit and range, and may hold a domain in place of a value."""

from __future__ import annotations

import dataclasses
import functools
import operator
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Self

from tune_lb.errors import nearest
from tune_lb.settings.domain import Choice, Domain, Interval

HOLDS_PARTS = "holds_parts"
"""In a field's metadata: it holds settings that are parts of a trial themselves, with columns of their own."""


def setting(
    default: Any = MISSING,
    description: str = "",
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    one_of: tuple[Any, ...] | None = None,
    suggested: Domain | None = None,
    added_later: bool = False,
) -> Any:
    """Declare a field with its description (and unit), its inclusive (low, high) or exclusive (above, below) bounds.

    suggested: a sensible range to search, from over(...). added_later: the field came when trials were already stored; at
    its default it is left out of a trial's identity, so that theirs do not change.
    """
    bounds = {"low": low, "high": high, "above": above, "below": below, "one_of": one_of}
    metadata = {"description": description, **bounds, "suggested": suggested, "added_later": added_later}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """A frozen dataclass that says what is wrong with it and which of its fields are searched.

    Construction never raises for a value out of range: `problems()` collects every mistake, so that all are reported
    together before any work starts.
    """

    def problems(self, where: str = "") -> list[str]:
        """Return one line per field whose value, or whose domain's ends, have the wrong type or range."""
        found = []
        for name, value, types, metadata in described(self):
            place = f"{where or type(self).__name__}.{name}"
            if isinstance(value, Interval | Choice):
                found += [f"{place}: {problem}" for problem in value.problems()]
            for end in value.to_check() if isinstance(value, Interval | Choice) else (value,):
                problem = _type_problem(end, types) or _range_problem(end, metadata)
                if problem:
                    found.append(f"{place} = {value}: {problem}")
                    break
        return found

    @classmethod
    def suggested(cls) -> dict[str, Domain]:
        """Return the fields that are worth searching, each with a sensible domain."""
        found = {field.name: field.metadata.get("suggested") for field in dataclasses.fields(cls)}
        return {name: domain for name, domain in found.items() if domain is not None}

    def dimensions(self) -> dict[str, Domain]:
        """Return the searched fields and their domains."""
        return {name: value for name, value, _, _ in described(self) if isinstance(value, Interval | Choice)}

    def resolved(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with the given values in place of the domains of those fields."""
        unknown = [name for name in values if name not in {field.name for field in dataclasses.fields(self)}]
        if unknown:
            known = [field.name for field in dataclasses.fields(self)]
            raise TypeError(f"{type(self).__name__} has no field {unknown[0]!r}{nearest(unknown[0], known)}")
        return dataclasses.replace(self, **values)


def described(settings: Settings) -> Iterator[tuple[str, Any, tuple[Any, ...], Mapping[str, Any]]]:
    """Yield name, value, allowed types and metadata of each field."""
    kind: Any = type(settings)
    allowed = _allowed_types(kind)
    for field in dataclasses.fields(settings):
        yield field.name, getattr(settings, field.name), allowed[field.name], field.metadata


@functools.cache
def _allowed_types(kind: type) -> dict[str, tuple[Any, ...]]:
    return {
        name: typing.get_args(hint) if typing.get_origin(hint) in (UnionType, typing.Union) else (hint,)
        for name, hint in typing.get_type_hints(kind).items()
    }


def as_typed(settings: Settings, name: str, value: Any) -> Any:
    """Return a field's value as it was typed: None for "none" where the field may be None and has no value of that name."""
    if value != "none":
        return value
    types, metadata = next((types, metadata) for field, _, types, metadata in described(settings) if field == name)
    return None if NoneType in types and "none" not in (metadata.get("one_of") or ()) else value


def column_type(types: tuple[Any, ...]) -> Literal["float", "int", "bool", "str"]:
    """Return the column type (int, float, bool or str) that holds values of the field's types."""
    kinds = [kind for kind in types if kind is not NoneType]
    columns: dict[Any, Literal["float", "int", "bool"]] = {int: "int", float: "float", bool: "bool"}
    return columns.get(kinds[0], "str") if len(kinds) == 1 else "str"


def _type_problem(value: Any, types: tuple[Any, ...]) -> str:
    scalars = {int: "a whole number", float: "a number", bool: "True or False", str: "a string", NoneType: "None"}
    for kind in types:
        origin = typing.get_origin(kind) or kind
        if origin is Any or not isinstance(origin, type) or getattr(origin, "_is_protocol", False):
            return ""
        if origin is tuple:
            origin = tuple | list
        elif kind is float:
            origin = int | float
        if isinstance(value, origin) and (kind is bool or not isinstance(value, bool)):
            return ""
    words = [scalars.get(kind) or f"of type {getattr(kind, '__name__', kind)}" for kind in types]
    return f"must be {' or '.join(words)}, not {value!r}"


def _range_problem(value: Any, metadata: Mapping[str, Any]) -> str:
    if value is None or isinstance(value, bool):
        return ""
    if metadata.get("one_of") and value not in metadata["one_of"]:
        return f"must be one of {', '.join(map(repr, metadata['one_of']))}" + nearest(str(value), metadata["one_of"])
    if not isinstance(value, int | float):
        return ""
    if value != value or value in (float("inf"), float("-inf")):
        return "must be finite"
    for key, holds, words in (
        ("low", operator.ge, "at least"),
        ("high", operator.le, "at most"),
        ("above", operator.gt, "above"),
        ("below", operator.lt, "below"),
    ):
        bound = metadata.get(key)
        if bound is not None and not holds(value, bound):
            return f"must be {words} {bound:g}"
    return ""

"""The user's own code in the identity of a run: what its trials use, definition by definition, each with a hash."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from tune_lb.settings.domain import Choice
from tune_lb.space.definitions import STATEMENTS, Name, forget, is_own, module_code, text_of, used_by
from tune_lb.space.designs import ArmDesign
from tune_lb.space.taking import lenders_of

Code = Mapping[str, str]
"""Hashes of definitions by "module:name"."""

_CLOCKS = ("time", "datetime", "perf_counter", "monotonic", "getpid", "uuid", "urandom")
"""Calls in the value of a global that make another one each time: it stands for no number of a training."""


def code_of_arms(designs: Sequence[ArmDesign]) -> dict[str, Code]:
    """Return what each arm's trials use of the user's code: {} for an arm that uses nothing but ours.

    Counted are functions and classes that the fields of its trials name, and whatever these use in turn, in all modules of
    the user's: their text without comments, layout and docstrings, the values of globals and closures that are plain, and
    what such a module does when it is imported. Not counted: SPACE itself, which is compared field by field; the arms that
    the file makes; installed packages; tune_lb.
    """
    forget()
    values = {d.name: [d.template, *(part for _, part in d.template.alternatives())] for d in designs}
    # what an arm takes from others is made by their code
    return {
        name: code_of([part for arm in (name, *lenders_of(name, designs)) for part in values[arm]]) for name in values
    }


def code_of(values: Iterable[Any]) -> dict[str, str]:
    """Return the definitions that values use, and all that these use."""
    found: dict[str, str] = {}
    waiting: list[Name] = []
    for name, given in _roots(values):
        waiting.append(name)
        if given:
            found[f"{name[0]}:{name[1]} (given)"] = _hash(json.dumps(given))
    seen: set[Name] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting += [*used_by(name), (name[0], STATEMENTS)]
        text = text_of(name) + _value_text(name)
        if text:
            found[f"{name[0]}:{name[1]}"] = _hash(text)
    return dict(sorted(found.items()))


def fingerprint(code: Code) -> str:
    """Return a hash of code, the same where definitions only moved to other modules; empty for none."""
    return _hash(json.dumps(sorted((key.partition(":")[2], value) for key, value in code.items()))) if code else ""


def differences(old: Code, new: Code) -> list[str]:
    """Return a line for each definition that differs: "make_network in nets.py changed"."""
    if fingerprint(old) == fingerprint(new):
        return []
    moved = {(key.partition(":")[2], value) for key, value in old.items()} & {
        (key.partition(":")[2], value) for key, value in new.items()
    }
    lines = []
    for key in sorted({**old, **new}):
        was, now = old.get(key), new.get(key)
        module, _, name = key.partition(":")
        if was != now and not any((name, value) in moved for value in (was, now)):
            what = "is used no more" if now is None else "is new" if was is None else "changed"
            said = "what is done at the top level of" if name == STATEMENTS else f"{name} in"
            lines.append(f"{said} {_file(module)} {what}")
    return lines


def _roots(values: Iterable[Any]) -> Iterator[tuple[Name, list[str]]]:
    """Yield the user's functions and classes that values are made of, with the plain values that closures give them."""
    waiting, seen = list(values), set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, str | int | float | type(None)):
            continue
        seen.add(id(value))
        if isinstance(value, functools.partial):
            waiting += [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, MethodType):
            waiting += [value.__func__, value.__self__]
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, tuple | list | set | frozenset):
            waiting += value
        elif isinstance(value, Choice):
            waiting += value.values
        else:
            kind = value if isinstance(value, type | FunctionType) else type(value)
            given = _given(value) if isinstance(value, FunctionType) else {}
            waiting += given.values()
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                waiting += [getattr(value, field.name) for field in dataclasses.fields(value)]
            elif not isinstance(value, type | FunctionType) and is_own(kind.__module__):
                waiting += vars(value).values() if hasattr(value, "__dict__") else []
            if is_own(kind.__module__):
                plain = [f"{name} = {text}" for name, entry in given.items() if (text := _plain(entry)) is not None]
                yield (kind.__module__, kind.__qualname__.partition(".")[0]), plain


def _given(function: FunctionType) -> dict[str, Any]:
    """Return what a function got when it was made: its closure and the defaults of its parameters."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = {}
    for name, cell in cells:
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # it is not bound yet
    defaults = inspect.signature(function).parameters.values()
    return found | {f"{p.name}=": p.default for p in defaults if p.default is not p.empty}


def _value_text(name: Name) -> str:
    """Return the value of a global that is plain, which a file or the environment may have given; nothing for a function."""
    code, module = module_code(name[0]), sys.modules.get(name[0])
    if code is None or module is None or name[1] == STATEMENTS:
        return ""
    text = text_of(name)
    value = vars(module).get(name[1])
    if callable(value) or any(f"{clock}(" in text for clock in _CLOCKS):
        return ""
    plain = _plain(value)
    return "" if plain is None else f"\n= {plain}"


def _plain(value: Any) -> str | None:
    """Return a plain value as text: numbers, words, arrays, and tuples, lists, sets and dicts of them; None for others.

    Paths are left out: where a project lies moves no number.
    """
    if isinstance(value, str):
        return None if value.startswith("/") else repr(value)
    if value is None or isinstance(value, bool | int | float | complex):
        return repr(value)
    if isinstance(value, tuple | list | set | frozenset | dict):
        entries = value.items() if isinstance(value, dict) else value
        texts = [_plain(entry) for entry in entries]
        known = [text for text in texts if text is not None]
        return f"{type(value).__name__}({', '.join(sorted(known) if isinstance(value, set | frozenset) else known)})"
    if hasattr(value, "__array__") and hasattr(value, "shape") and hasattr(value, "dtype"):
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else value
        return f"{value.dtype}{tuple(value.shape)} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"
    return None


def _file(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).name if file else f"{module.replace('.', '/')}.py"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]

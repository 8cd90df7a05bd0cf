"""How a value of a trial is written as Python: an expression, and the lines that import what stands in it."""

from __future__ import annotations

import builtins
import dataclasses
import enum
import functools
import inspect
import math
import os
import sys
import sysconfig
from collections.abc import Collection, Iterator
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

import torch

from tune_lb.errors import RequestError
from tune_lb.settings.domain import Choice
from tune_lb.settings.identity import describe
from tune_lb.settings.plain import plain

OURS = ("tune_lb", "search_spaces", "analysis")


class Expressions:
    """Writes values as expressions, and keeps the imports that these need.

    taken: names that an import may not have, since the code uses them otherwise; it is then imported under another.
    """

    def __init__(self, taken: Collection[str] = ()) -> None:
        self.taken = {*taken, *dir(builtins)}
        self.imported: dict[tuple[str, str], str] = {}

    def of(self, value: Any) -> str:
        """Return the value as an expression. Raises RequestError where no module has it by a name."""
        value = plain(value)
        if value is None or isinstance(value, bool | int | str | bytes | torch.dtype):
            return repr(value)
        if isinstance(value, float):
            return repr(value) if math.isfinite(value) else f'float("{value}")'
        if type(value) in (tuple, list, dict):
            return self._of_entries(value)
        if isinstance(value, enum.Enum):
            return f"{self._name(type(value))}.{value.name}"
        if isinstance(value, functools.partial):
            given = [self.of(entry) for entry in value.args]
            given += [f"{name}={self.of(entry)}" for name, entry in value.keywords.items()]
            return f"{self.imported_as('functools', 'partial')}({', '.join([self.of(value.func), *given])})"
        if isinstance(value, MethodType):
            return f"{self.of(value.__self__)}.{value.__name__}"
        if dataclasses.is_dataclass(value) and not isinstance(value, type) and (made := self._of_fields(value)):
            return made
        return self._name(value)

    def lines(self, *others: str) -> list[str]:
        """Return all import lines, those of the code itself (`others`) first, and the way to modules of the user's own."""
        folders = sorted({folder for module, _ in self.imported for folder in folders_of(module)})
        found = []
        for (module, name), local in sorted(self.imported.items()):
            if not all(part.isidentifier() for part in module.split(".")):
                found.append(f'{local} = __import__("importlib").import_module({module!r}).{name}')
            else:
                found.append(f"from {module} import {name}{'' if local == name else f' as {local}'}")
        if not folders:
            return [*others, "", *found]
        way = ["# where modules of one's own lie", *(f"sys.path.append({folder!r})" for folder in folders)]
        return [
            *sorted([*others, "import sys"], key=lambda line: not line.startswith("import ") or "torch" in line),
            "",
            *way,
            *found,
        ]

    def _of_entries(self, value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{self.of(key)}: {self.of(entry)}" for key, entry in value.items()) + "}"
        entries = ", ".join(self.of(entry) for entry in value)
        return f"[{entries}]" if isinstance(value, list) else f"({entries}{',' if len(value) == 1 else ''})"

    def _of_fields(self, value: Any) -> str | None:
        """Return the call that makes a dataclass with these fields; None where there is no such call."""
        fields = {field.name: field for field in dataclasses.fields(value) if field.init}
        given = {name: getattr(value, name) for name in fields}
        try:
            if type(value)(**given) != value or not _found(type(value)):
                return None
        except Exception:  # whatever the constructor of a class of the user's raises: it is not made from its fields
            return None
        # left out where nothing is lost: what came later, and what is not shown, at its default
        shown = {
            name: entry
            for name, entry in given.items()
            if not (
                (fields[name].metadata.get("added_later") or not fields[name].repr) and entry == fields[name].default
            )
        }
        return f"{self._name(type(value))}({', '.join(f'{name}={self.of(entry)}' for name, entry in shown.items())})"

    def _name(self, value: Any) -> str:
        """Import a value by the name that a module has for it, and return that name."""
        place = _found(value) or _held(value)
        if place is None:
            raise RequestError(
                f"{describe(value)} cannot be written as code: no module has it by a name; give it one, in the file of the space "
                "or beside it"
            )
        module, path = place
        first, dot, rest = path.partition(".")
        first, bracket, more = first.partition("[")
        return self.imported_as(module, first) + bracket + more + dot + rest

    def imported_as(self, module: str, name: str) -> str:
        """Import a name of a module; return what it is called here."""
        key = (module, name)
        if key not in self.imported:
            local = name
            while local in self.taken:
                local = f"own_{local}"
            self.taken.add(local)
            self.imported[key] = local
        return self.imported[key]


def _found(value: Any) -> tuple[str, str] | None:
    """Return module and qualified name of a function or class, where that name leads to it."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not (inspect.isroutine(value) or isinstance(value, type)) or not module or not name or module == "__main__":
        return None
    here: Any = sys.modules.get(module)
    for part in name.split("."):
        here = getattr(here, part, None)
    return (module, name) if here is value else None


def _held(value: Any) -> tuple[str, str] | None:
    """Return a module of the user's own, and what there leads to the value: a variable, or a field of the space in one."""
    held = [(name, thing, where) for name, there in own_modules().items() for thing, where in _contents(there)]
    return next(((name, where) for name, thing, where in held if thing is value), None)


def _contents(module: ModuleType) -> Iterator[tuple[Any, str]]:
    """Yield what a module holds by name, and how to come to it: the fields of spaces last."""
    named = [(value, name) for name, value in list(vars(module).items()) if name.isidentifier()]
    yield from named
    for value, name in named:
        if hasattr(value, "arms") and dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [(getattr(value, f.name), f"{name}.{f.name}") for f in dataclasses.fields(value)]
            for index, arm in enumerate(getattr(value, "arms", ())):
                settings = getattr(arm, "settings", {})
                fields += [(entry, f"{name}.arms[{index}].settings[{key!r}]") for key, entry in settings.items()]
            for entry, where in fields:
                yield entry, where
                if isinstance(entry, Choice):
                    yield from ((option, f"{where}.values[{i}]") for i, option in enumerate(entry.values))


def own_modules() -> dict[str, ModuleType]:
    """Return the loaded modules that are neither ours nor installed, by name."""
    return {name: module for name, module in list(sys.modules.items()) if _is_own(name, module)}


def _is_own(name: str, module: object) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(module, ModuleType) or not file or name == "__main__" or name.partition(".")[0] in OURS:
        return False
    return not str(file).startswith(_installed())


@functools.cache
def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(f"{paths[kind]}{os.sep}" for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def folders_of(name: str) -> list[str]:
    """Return the folders that a module of the user's own, and those that it has imported, are imported from."""
    own, waiting = own_modules(), [name]
    found: dict[str, Path] = {}
    while waiting:
        module = waiting.pop()
        if module not in own or module in found:
            continue
        file = Path(str(own[module].__file__)).absolute()
        found[module] = file.parents[len(module.split(".")) - (file.stem != "__init__")]
        values = list(vars(own[module]).values())
        waiting += {v.__name__ if isinstance(v, ModuleType) else str(getattr(v, "__module__", "")) for v in values}
    return sorted({str(folder) for folder in found.values()})

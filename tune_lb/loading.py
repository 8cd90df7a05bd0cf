"""Finding and importing search spaces: ours by name, anybody's by path."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from tune_lb.errors import RequestError, nearest

if TYPE_CHECKING:
    from tune_lb.space import Space

PACKAGE = "search_spaces"
OWN_PACKAGES = frozenset({"tune_lb", "analysis", PACKAGE})
UNEXPECTED_KEYWORD = re.compile(r"([\w.]+?)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'")


@dataclass(frozen=True)
class Loaded:
    """A space and where it came from."""

    space: Space
    name: str
    """Name of the module: of the run, unless another is given."""
    path: Path
    modules: tuple[str, ...] = ()
    """Top-level modules found beside the file, itself included: other processes cannot import them by name."""


def space_names() -> list[str]:
    """Return the names under search_spaces/."""
    return sorted(path.stem for folder in _package_folders() for path in folder.glob("*.py") if not path.name.startswith("_"))


def load_space(argument: str) -> Loaded:
    """Return the space of a name under search_spaces/ or of a path to a .py file. Raises RequestError.

    What lies beside the file can be imported by it: first of all while it is loaded, as if it were run as a script, and
    last of all afterwards, so that a lazy import finds it and nobody else's import does.
    """
    path = Path(argument).expanduser()
    if argument in space_names() and not (path.suffix == ".py" and path.is_file()):
        return _named(argument)
    if path.suffix != ".py" and "/" not in argument:
        known = nearest(argument, space_names())
        raise RequestError(f"there is no search space {argument!r}{known} A path to a .py file is taken too".replace("? A", "? (a").replace("; known", "; known") )
    if not path.is_file():
        raise RequestError(f"search space {argument}: there is no such file{_files_beside(path)}")
    path = path.resolve()
    if path.parent in [folder.resolve() for folder in _package_folders()]:
        return _named(path.stem)
    return _from_file(path)

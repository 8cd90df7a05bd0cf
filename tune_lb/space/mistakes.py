"""Mistakes in the file of a space: where they are, what they are, and what may have been meant."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tune_lb.errors import nearest, own_line
from tune_lb.space.old_fields import SUCCESSORS, successor

FACES = (
    "tune_lb",
    *(f"tune_lb.{name}" for name in ["remedies", "metrics", "models", "data", "optimizers", "samplers"]),
)
"""Packages that offer names."""

_UNEXPECTED_KEYWORD = re.compile(r"([\w.]+?)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'")
_NO_SUCH_NAME = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
_FROM_US = re.compile(r"^from tune_lb[\w.]* import \(?([\w, ]+)")


def place_of(error: BaseException, path: Path) -> str:
    """Return file:line of the innermost line of the user's, else the file."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return own_line(error) or str(path)


def message(error: BaseException) -> str:
    """Return what was wrong in one line, with what may have been meant."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    text = " ".join("".join(traceback.TracebackException.from_exception(error).format_exception_only()).split())
    return text + (_offered(error) or ("" if "Did you mean" in text else _nearest_name(error)))


def _offered(error: BaseException) -> str:
    """Return how a name of ours is imported where it was looked for in a file of ours that has it no more."""
    if not isinstance(error, ImportError) or not (error.name or "").startswith("tune_lb"):
        return ""
    found = _NO_SUCH_NAME.search(str(error))
    lines = [frame.line or "" for frame in traceback.extract_tb(error.__traceback__)]
    asked = [found[1]] if found else re.findall(r"\w+", next((m[1] for m in map(_FROM_US.search, lines) if m), ""))
    faces = [(face, importlib.import_module(face).__all__) for face in FACES]
    ways = {name: next((face for face, names in faces if name in names), "") for name in asked}
    if not ways or not all(ways.values()):
        return ""
    return f"; write {', '.join(f'`from {face} import {name}`' for name, face in ways.items())}"


def _nearest_name(error: BaseException) -> str:
    """Return which name may have been meant where a keyword, a module or a name in a module is not known."""
    keyword = _UNEXPECTED_KEYWORD.search(str(error)) if isinstance(error, TypeError) else None
    if keyword:
        if keyword[1].split(".")[0] == "Space" and keyword[2] in SUCCESSORS:
            return successor(keyword[2])
        called = _called(error, keyword[1].split(".")[-1])
        return _nearest(keyword[2], inspect.signature(called).parameters) if called else ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        parent, _, missing = error.name.rpartition(".")
        folders = sys.modules[parent].__path__ if parent in sys.modules else []
        return _nearest(missing, [module.name for module in pkgutil.iter_modules(folders)]) if parent else ""
    name = _NO_SUCH_NAME.search(str(error)) if isinstance(error, ImportError) else None
    return _nearest(name[1], [known for known in dir(sys.modules.get(name[2])) if known[0] != "_"]) if name else ""


def _called(error: BaseException, name: str) -> Callable[..., Any] | None:
    """Return the class or function of that name, looked up where the call was made, else in what we offer."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    places = [names for frame in reversed(frames) for names in (frame.f_locals, frame.f_globals)]
    places += [vars(module) for key, module in list(sys.modules.items()) if key.startswith("tune_lb.")]
    return next((names[name] for names in places if callable(names.get(name))), None)


def _nearest(word: str, known: Iterable[str]) -> str:
    """Return the nearest of the known words; one that differs in case alone is the nearest."""
    words = list(known)
    same = [other for other in words if other.casefold() == word.casefold()]
    return nearest(same[0], same) if same else nearest(word, words)

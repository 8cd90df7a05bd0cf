"""Reach: whether workers can have what a search needs of the user's code, asked before anything is timed or started."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any

import ray.cloudpickle

from tune_lb.errors import RequestError, is_library
from tune_lb.space.checks import checked_designs
from tune_lb.space.sources import Source, install
from tune_lb.space.travel import files_of
from tune_lb.tuning.request import Request

LOOK = (
    "import importlib.util as u, json, sys\n"
    "def there(n):\n"
    "    try: return u.find_spec(n) is not None\n"
    "    except Exception: return False\n"
    "print(json.dumps([n for n in sys.argv[1:] if not there(n)]))\n"
)


def travel_by_value(modules: Iterable[str]) -> None:
    """Let functions and classes of the modules be sent as they are: other processes cannot import them by name."""
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(importlib.import_module(module))


def check_reach(request: Request) -> None:
    """Raise RequestError where workers on this machine lack a module of the user's, or what they are sent cannot be sent.

    A worker is like a fresh Python in this folder with this environment: what is done here to the import path, it has not
    done. Cost: a start of Python without any package, where there is something to ask for.
    """
    own = [name for name in request.imports if not all(map(is_library, files_of(name)))]
    if own and request.address is None:
        done = subprocess.run([sys.executable, "-c", LOOK, *own], capture_output=True, text=True, check=False)
        missing = json.loads(done.stdout) if done.returncode == 0 else []
        if missing:
            raise RequestError(missing_line(name) for name in missing)
    travel_by_value(request.modules)
    sent = [checked_designs(request.space), request.space.metrics, request.space.sampler]
    try:
        ray.cloudpickle.dumps(sent)
    # whatever an object of the user's raises when it is pickled
    except Exception as error:
        raise RequestError(_unsendable(request.modules, error)) from error


def missing_line(name: str, where: str = "in the workers") -> str:
    """Return what to do about a module that workers cannot import."""
    file = next(files_of(name), None)
    folder = None if file is None else os.path.dirname(file)
    if folder is not None and os.path.basename(folder) == name:
        folder = os.path.dirname(folder)
    path = f" to {folder}" if folder else ""
    return f"{name} is not importable {where}: install it (pip install -e), or set PYTHONPATH{path} before the search"


def lacking(names: Sequence[str], sources: Mapping[str, Source]) -> list[str]:
    """Return which modules this process cannot import, given the sources."""
    install(sources)
    importlib.invalidate_caches()
    return [name for name in names if importlib.util.find_spec(name) is None]


def _unsendable(modules: Sequence[str], error: Exception) -> str:
    """Return which global of the user's modules cannot be pickled, else what was said."""
    said = " ".join(str(error).split())[:200]
    for module in modules:
        for loaded in [key for key in sys.modules if key.partition(".")[0] == module]:
            names = vars(sys.modules[loaded])
            for name in sorted(_names_used(names.values(), loaded) & names.keys()):
                try:
                    ray.cloudpickle.dumps(names[name])
                # as above: it is the one that is looked for
                except Exception:
                    if isinstance(names[name], type | FunctionType):
                        continue  # it uses what is looked for
                    kind = type(names[name])
                    return (
                        f"{sys.modules[loaded].__file__}: {name}, a {kind.__module__}.{kind.__qualname__}, cannot be sent to "
                        "workers: make it inside the function that uses it"
                    )
    return f"what the space trains cannot be sent to workers: {said}; make what cannot be pickled inside the function that uses it"


def _names_used(values: Iterable[Any], module: str) -> set[str]:
    """Return the names that functions of a module, and the methods of its classes, look up."""
    found: set[str] = set()
    for value in values:
        if getattr(value, "__module__", None) != module:
            continue
        members = [value, *vars(value).values()] if isinstance(value, type) else [value]
        functions = [getattr(member, "__func__", member) for member in members]
        waiting = [function.__code__ for function in functions if isinstance(function, FunctionType)]
        while waiting:
            code = waiting.pop()
            found |= set(code.co_names)
            waiting += [constant for constant in code.co_consts if hasattr(constant, "co_names")]
    return found

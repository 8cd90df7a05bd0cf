"""Faces: the public names of a package, each imported when it is first asked for (PEP 562).

`import tune_lb` loads no torch, and `from tune_lb.remedies import SAM` loads one file. The same names stand under
`if TYPE_CHECKING` in the package, where editors and mypy read them; a test holds the two together.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any


def face(package: str, modules: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package.

    modules: full name of a module -> the names, separated by blanks, that the package offers from it.
    """
    homes = {name: module for module, names in modules.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in homes:
            # as Python says it: hasattr and the import of submodules rely on it
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names, sorted(homes)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's collector of cycles while modules are imported.

    What they make stays, and to look through it again and again takes a sixth of the time.
    """
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()

"""Travel: which modules of the user's go to other processes with a space, and which those must be able to import themselves."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SOURCE_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from tune_lb.errors import is_library
from tune_lb.space.sources import OWN_PACKAGES, Source, SourceImporter, names_imported_by, sources_beside

_added: dict[Path, list[str]] = {}
_loaded: dict[Path, set[str]] = {}
"""Folders that each file put on the import path, and modules that came with it: both happen once in a process."""


@dataclass(frozen=True)
class Travelers:
    """modules: top-level ones that travel. sources: what is sent as text. imports: top-level ones that must be there already."""

    modules: tuple[str, ...]
    sources: Mapping[str, Source]
    imports: tuple[str, ...]


def travelers(
    name: str, path: Path, folders: Sequence[str], before: Sequence[str], loaded: Collection[str]
) -> Travelers:
    """Return what travels with a file that was just imported as the module `name`.

    folders: where the file lies. before, loaded: the import path and the modules of this process before that. A module
    travels if it lies beside the file; or if it came with it, is made of Python files outside of the library folders, and
    would not be found but for what the file did to the import path, or for this process's working folder.
    """
    added = _added.setdefault(path, [])
    added += [entry for entry in sys.path if entry not in (*before, *added, *folders)]
    new = _loaded.setdefault(path, set())
    new |= {key.partition(".")[0] for key in set(sys.modules) - set(loaded)}
    elsewhere = [entry for entry in before if entry not in added and Path(entry).resolve() != Path.cwd()]
    places = [*folders, *added, *(entry for entry in before if Path(entry).resolve() == Path.cwd())]
    own = {
        top
        for top, module in list(sys.modules.items())
        if lies_in(top, module, folders)
        or (top in new and "." not in top and _is_own(top) and not _is_found(module, elsewhere))
    }
    sources = sources_beside(name, list(dict.fromkeys(Path(place).resolve() for place in places)))
    sources = {key: source for key, source in sources.items() if not _is_compiled(key.partition(".")[0])}
    traveling = own | {key.partition(".")[0] for key in sources}
    asked = {key.partition(".")[0] for key in names_imported_by(sources)} | {top for top in new if _is_own(top, False)}
    imports = {top for top in asked - traveling - sys.stdlib_module_names - OWN_PACKAGES if _is_there(top)}
    return Travelers(tuple(sorted(own)), sources, tuple(sorted(imports)))


def lies_in(name: str, module: ModuleType, folders: Sequence[str]) -> bool:
    """Say whether a loaded top-level module of the user's lies right in one of the folders."""
    # some entries of sys.modules are no modules (typing.io in Python 3.11)
    spec: ModuleSpec | None = getattr(module, "__spec__", None)
    if spec is None or "." in name or name in OWN_PACKAGES or name == "__main__":
        return False
    if spec.submodule_search_locations is not None:
        return any(str(Path(location).parent) in folders for location in spec.submodule_search_locations)
    return spec.origin is not None and str(Path(spec.origin).parent) in folders


def files_of(top: str) -> Iterator[str]:
    """Yield the files of a loaded top-level module and of all that is loaded of its parts."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] == top and isinstance(file, str):
            yield file


def _is_own(top: str, traveling: bool = True) -> bool:
    """Say whether a loaded module lies outside of the libraries; traveling: and is made of Python files alone."""
    files = list(files_of(top))
    if not files or top in OWN_PACKAGES or top in sys.stdlib_module_names or top == "__main__":
        return False
    return not any(map(is_library, files)) and not (traveling and _is_compiled(top))


def _is_compiled(top: str) -> bool:
    """Say whether something is loaded of a module that is no Python file, and so cannot be sent as text."""
    return not all(file.endswith(tuple(SOURCE_SUFFIXES)) for file in files_of(top))


def _is_found(module: ModuleType, path: Sequence[str]) -> bool:
    """Say whether the import system, with this path, finds the same file."""
    for finder in sys.meta_path:
        if isinstance(finder, SourceImporter) or not hasattr(finder, "find_spec"):
            continue
        spec = finder.find_spec(module.__name__, list(path) if finder is PathFinder else None)
        if spec is not None:
            places = [*(spec.submodule_search_locations or ()), spec.origin or ""]
            file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
            return any(os.path.realpath(place) in (os.path.realpath(file), os.path.dirname(file)) for place in places)
    return False


def _is_there(top: str) -> bool:
    """Say whether this process can import a module: what is imported only where it is there may be missing."""
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False

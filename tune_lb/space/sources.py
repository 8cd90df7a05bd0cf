"""Sources: the modules that lie beside a space, as text, so that workers on any machine can import them when they like."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

OWN_PACKAGES = frozenset({"tune_lb", "analysis", "search_spaces"})
"""Installed wherever tune_lb is: other processes import them by name."""


@dataclass(frozen=True)
class Source:
    """One module: where it lies on the machine that read it (for tracebacks), what is in it, and whether it is a package."""

    path: str
    text: str
    is_package: bool = False


class SourceImporter(MetaPathFinder, InspectLoader):
    """Imports modules from their text, where nothing else can: it is asked last."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = dict(sources)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that is among the sources."""
        source = self.sources.get(fullname)
        if source is None:
            return None
        spec = spec_from_loader(fullname, self, origin=source.path, is_package=source.is_package)
        if spec is not None:
            # so that the module knows its __file__: what lies beside it may be there as well
            spec.has_location = True
        return spec

    def get_source(self, fullname: str) -> str:
        """Return the text of a module."""
        return self.sources[fullname].text

    def is_package(self, fullname: str) -> bool:
        """Say whether a module is a package."""
        return self.sources[fullname].is_package

    def get_code(self, fullname: str) -> CodeType:
        """Return a module compiled, its lines known by the path it came from."""
        code: CodeType = compile(self.sources[fullname].text, self.sources[fullname].path, "exec")
        return code


def install(sources: Mapping[str, Source]) -> None:
    """Let this process import the modules. Once for each set of them."""
    if sources and not any(isinstance(f, SourceImporter) and f.sources == sources for f in sys.meta_path):
        sys.meta_path.append(SourceImporter(sources))


def sources_beside(name: str, folders: Sequence[Path]) -> dict[str, Source]:
    """Return a module and all that it imports, anywhere in its code, from the folders; and so on from these.

    name: of the module, dotted within its package. Read from the code, without importing: imports inside functions count,
    and those by importlib.import_module("a name written out"). A module whose code cannot be read is left out.
    """
    found: dict[str, Source] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module in found or module.partition(".")[0] in OWN_PACKAGES or (source := _source(module, folders)) is None:
            continue
        found[module] = source
        parent = module.rpartition(".")[0]
        while parent and parent not in found:
            # a folder without __init__.py is a package as well
            found[parent] = _source(parent, folders) or Source(str(Path(source.path).parent), "", True)
            parent = parent.rpartition(".")[0]
        try:
            waiting += imported_names(ast.parse(source.text), module, source.is_package)
        except SyntaxError:
            continue  # it fails where it is imported, and maybe it never is
    return dict(sorted(found.items()))


def names_imported_by(sources: Mapping[str, Source]) -> set[str]:
    """Return the dotted names of all that the sources may import; some are of no module."""
    found: set[str] = set()
    for module, source in sources.items():
        try:
            found |= set(imported_names(ast.parse(source.text), module, source.is_package))
        except SyntaxError:
            continue  # as above
    return found


def _source(module: str, folders: Sequence[Path]) -> Source | None:
    parts = module.split(".")
    if not all(part.isidentifier() or part.replace("-", "_").isidentifier() for part in parts):
        return None
    for folder in folders:
        place = folder.joinpath(*parts)
        for path, is_package in ((place / "__init__.py", True), (place.with_name(f"{place.name}.py"), False)):
            if path.is_file():
                try:
                    return Source(str(path), path.read_text(encoding="utf-8"), is_package)
                except (OSError, UnicodeDecodeError):
                    return None
    return None


def imported_names(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Yield the names of all modules that a module may import; some are of no module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            above = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0] if node.args else None
            if called == "import_module" and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value

"""Definitions: what a top-level name of a user's module means, read from its text, and which other names it uses in turn."""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tune_lb.errors import is_library
from tune_lb.space.sources import OWN_PACKAGES

Name = tuple[str, str]
"""A module and a top-level name in it."""

STATEMENTS = "(statements)"
"""Stands for what a module does when it is imported, beside defining names."""

_PLACES = ("sys.path", "print", "warnings.", "logging.", "site.")
"""Calls that no number depends on."""

_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass
class ModuleCode:
    """The code of one module, by what it defines.

    definitions: the statements that bind or change each top-level name. imports: what imported names stand for, (module,
    name in it or None for the module itself). stars: modules all names of which are imported. statements: all else.
    """

    is_package: bool
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    statements: list[ast.stmt] = field(default_factory=list)


@functools.cache
def is_own(module: str) -> bool:
    """Say whether a module is the user's: a Python file, ours and installed ones excepted; search_spaces are as a user's."""
    return _file_of(module) is not None


@functools.cache
def module_code(module: str) -> ModuleCode | None:
    """Return the code of a user's module, None for another's and for one that cannot be read."""
    file = _file_of(module)
    if file is None:
        return None
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    found = ModuleCode(Path(file).name == "__init__.py")
    for statement in tree.body:
        _take_in(found, statement, module)
    return found


def forget() -> None:
    """Read all modules anew: their files may have changed since."""
    is_own.cache_clear()
    module_code.cache_clear()


def text_of(name: Name) -> str:
    """Return the statements of a name without docstrings, comments and layout, and what library names in them stand for."""
    code = module_code(name[0])
    if code is None:
        return ""
    statements = code.statements if name[1] == STATEMENTS else code.definitions.get(name[1], [])
    given = sorted(
        {f"{used} = {'.'.join(filter(None, code.imports[used]))}" for used in _names(statements) & code.imports.keys()}
    )
    library = [line for line in given if not is_own(line.partition(" = ")[2].partition(".")[0])]
    return "\n".join([*library, *(ast.unparse(_without_docstrings(statement)) for statement in statements)])


def used_by(name: Name) -> set[Name]:
    """Return the names in the user's modules that the statements of a name use; whatever a name may stand for counts."""
    module = name[0]
    code = module_code(module)
    if code is None:
        return set()
    statements = code.statements if name[1] == STATEMENTS else code.definitions.get(name[1], [])
    found: set[Name] = set()
    for statement in statements:
        local = ModuleCode(code.is_package)
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                _take_in(local, node, module)
        inside: set[int] = set()
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inside:
                chain = _chain(node)
                inside |= {id(part) for part in ast.walk(node)} if chain else set()
                if chain:
                    found |= set(_resolved(chain, module, code, local))
    return found - {name}


def _file_of(module: str) -> str | None:
    top = module.partition(".")[0]
    if top in OWN_PACKAGES - {"search_spaces"} or top in sys.stdlib_module_names:
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and module not in sys.modules:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError, AttributeError):
            return None
        file = None if spec is None else spec.origin
    ours = top == "search_spaces"
    return file if isinstance(file, str) and file.endswith(".py") and (ours or not is_library(file)) else None


def _take_in(found: ModuleCode, statement: ast.stmt, module: str) -> None:
    """Sort a top-level statement in."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        _import(found, statement, module)
    elif _is_nothing(statement):
        return
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom) and not isinstance(statement, _DEFINITION):
                _import(found, node, module)
        names = {statement.name} if isinstance(statement, _DEFINITION) else _bound(statement, found)
        for name in names:
            found.definitions.setdefault(name, []).append(statement)
        if not names:
            found.statements.append(statement)


def _import(found: ModuleCode, statement: ast.Import | ast.ImportFrom, module: str) -> None:
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            whole = alias.name if alias.asname else alias.name.partition(".")[0]
            found.imports[alias.asname or whole] = (whole, None)
        return
    parts = module.split(".")
    above = parts[: len(parts) - statement.level + found.is_package] if statement.level else []
    base = ".".join([*above, *([statement.module] if statement.module else [])])
    for alias in statement.names:
        if alias.name == "*":
            found.stars.append(base)
        else:
            found.imports[alias.asname or alias.name] = (base, alias.name)


def _is_nothing(statement: ast.stmt) -> bool:
    """Say whether no number can depend on a statement: docstrings, the import path, what is printed, a main block."""
    if isinstance(statement, ast.Pass | ast.Assert):
        return True
    if isinstance(statement, ast.If):
        return ast.unparse(statement.test) in ("__name__ == '__main__'", "TYPE_CHECKING", "typing.TYPE_CHECKING")
    if not isinstance(statement, ast.Expr):
        return False
    called = ast.unparse(statement.value.func) if isinstance(statement.value, ast.Call) else ""
    return isinstance(statement.value, ast.Constant) or called.startswith(_PLACES)


def _bound(statement: ast.stmt, code: ModuleCode) -> set[str]:
    """Return the names that a statement binds, or changes: ARMS.append(...), CONFIG["x"] = 3."""
    found: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _DEFINITION):
            found.add(node.name)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            found |= {root for root in (_root(node),) if root in code.definitions}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found |= {root for root in (_root(node.value.func),) if root in code.definitions}
        waiting += ast.iter_child_nodes(node)
    return found


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _chain(node: ast.AST) -> list[str]:
    """Return a, b, c of a.b.c; nothing where it does not begin with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def _names(statements: Iterable[ast.stmt]) -> set[str]:
    return {node.id for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Name)}


def _resolved(chain: list[str], module: str, code: ModuleCode, local: ModuleCode) -> Iterator[Name]:
    """Yield the names that a.b.c in a module may stand for."""
    for imports in (local.imports, code.imports):
        if chain[0] in imports:
            yield from _imported(*imports[chain[0]], chain[1:])
    if chain[0] in code.definitions:
        yield (module, chain[0])
    elif chain[0] not in code.imports and not hasattr(builtins, chain[0]):
        for star in [*local.stars, *code.stars]:
            yield from _looked_up(star, chain[0], chain[1:])


def _imported(module: str, name: str | None, rest: list[str]) -> Iterator[Name]:
    if name is None:
        if rest and is_own(f"{module}.{rest[0]}"):
            yield from _imported(f"{module}.{rest[0]}", None, rest[1:])
        elif rest:
            yield from _looked_up(module, rest[0], rest[1:])
        else:
            # the module as a value: any name of it may be meant
            code = module_code(module)
            yield from ((module, defined) for defined in (code.definitions if code else ()) if defined != "SPACE")
    else:
        yield from _looked_up(module, name, rest)


def _looked_up(module: str, name: str, rest: list[str], depth: int = 0) -> Iterator[Name]:
    """Yield what a name in a module is: defined there, imported there from elsewhere, or a module of the package."""
    code = module_code(module)
    if code is None or depth > 20:
        return
    if name in code.definitions:
        yield (module, name)
    elif name in code.imports:
        source, other = code.imports[name]
        if other is None:
            yield from _imported(source, None, rest)
        else:
            yield from _looked_up(source, other, rest, depth + 1)
    elif is_own(f"{module}.{name}"):
        yield from _imported(f"{module}.{name}", None, rest)
    else:
        for star in code.stars:
            yield from _looked_up(star, name, rest, depth + 1)


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    statement = copy.deepcopy(statement)
    for node in ast.walk(statement):
        if isinstance(node, _DEFINITION) and len(node.body) > 0:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return statement

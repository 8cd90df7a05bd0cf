"""Finding and importing search spaces: ours by name, anybody's by path."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from tune_lb.data.catalogue import ENTRIES, why_missing
from tune_lb.data.places import look_beside
from tune_lb.errors import RequestError, nearest
from tune_lb.space.mistakes import message, place_of
from tune_lb.space.papers import SCALES
from tune_lb.space.sources import Source, imported_names
from tune_lb.space.travel import lies_in, travelers

if TYPE_CHECKING:
    from tune_lb.space.space import Space

PACKAGE = "search_spaces"

SAID = ("question", "rows", "differs", "paper_differs", "cost", "paper_cost")
"""Words of a space's code that are read without importing it."""


@dataclass(frozen=True)
class Loaded:
    """A space and where it came from.

    name: of the module, and of the run unless another is given, with the scale after it where that is not an experiment's first.
    scale: of an experiment of a paper, else None. modules: top-level modules that travel, itself included:
    those beside the file, in the working folder, or under folders that the file put on the import path; other processes
    cannot import them by name. sources: these and all that they may import later. imports: top-level modules of others that
    they need.
    """

    space: Space
    name: str
    path: Path
    modules: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    scale: str | None = None


def space_names() -> list[str]:
    """Return the names under search_spaces/."""
    files = [path for folder in _package_folders() for path in folder.glob("*.py")]
    return sorted({path.stem for path in files if not path.name.startswith("_")})


class Declared(NamedTuple):
    """What one of our spaces says of itself in its code; of an experiment of a paper also its rows, what differs from them, and
    what a run takes. data: built-in data sets, and paths of others, that it reads at one scale or the other.
    """

    question: str | None = None
    rows: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    paper_differs: tuple[str, ...] = ()
    cost: str | None = None
    paper_cost: str | None = None
    data: tuple[str, ...] = ()


def declared(name: str) -> Declared:
    """Return what one of our spaces says of itself, read without importing it; what does not stand there as such is left out.

    Importing a space imports torch, which takes seconds.
    """
    try:
        tree = ast.parse(_path_of(name).read_text(encoding="utf-8"))
    except SyntaxError:
        return Declared()
    found: dict[str, Any] = {}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for word in (word for call in calls for word in call.keywords):
        if word.arg in SAID and word.arg not in found:
            with contextlib.suppress(ValueError):  # not a literal
                found[word.arg] = ast.literal_eval(word.value)
    # what several spaces have in common may name their data
    shared = [_path_of(module.rpartition(".")[2]) for module in imported_names(tree, name, False) if _is_shared(module)]
    calls += [n for path in shared for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
    return Declared(**found, data=tuple(dict.fromkeys(read for call in calls if (read := _data_of(call)))))


def _is_shared(module: str) -> bool:
    return module.startswith(f"{PACKAGE}._") and module.count(".") == 1


def missing_data(name: str) -> list[str]:
    """Return what one of our spaces reads that is not on this machine, and how to get it, a line each."""
    beside = _path_of(name).parent
    return [said for read in declared(name).data if (said := why_missing(read, beside))]


def _data_of(call: ast.Call) -> str | None:
    """Return the built-in data set, or the path, that a call stands for; None for what is no data."""
    name = call.func.id if isinstance(call.func, ast.Name) else None
    if name in ("Arrays", "ImageFolder") and call.args and isinstance(call.args[0], ast.Constant):
        return str(call.args[0].value)
    return name if name in {known.name for known in ENTRIES} else None


def load_space(argument: str, scale: str | None = None) -> Loaded:
    """Return the space that a name under search_spaces/ or a path to a .py file stands for. Raises RequestError.

    scale: of an experiment of a paper (tune_lb.space.papers.SCALES); None is its first.

    What lies beside a file comes first on the import path while the file is loaded, as if it were run as a script, and
    last afterwards: a lazy import still finds it, and it shadows nobody's module.
    """
    path = Path(argument).expanduser()
    names = space_names()
    if argument in names:
        return _named(argument, scale)
    if path.is_dir():
        inside = nearest(path.name, [f"{argument.rstrip('/')}/{file.name}" for file in path.glob("*.py")])
        raise RequestError(f"search space {argument}: that is a folder; give the .py file of a space{inside}")
    if path.suffix != ".py":
        raise RequestError(
            f"there is no search space {argument!r}{nearest(argument, names)} (or give a path to a .py file)"
        )
    if not path.is_file():
        beside = [str(file) for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise RequestError(
            f"search space {argument}: there is no such file{nearest(argument, beside) if beside else ''}"
        )
    path = path.resolve()
    if path.parent in _package_folders() and path.stem in names:
        return _named(path.stem, scale)
    return _from_file(path, scale)


def _package_folders() -> list[Path]:
    spec = importlib.util.find_spec(PACKAGE)
    return [Path(folder).resolve() for folder in (spec.submodule_search_locations or [])] if spec else []


def _path_of(name: str) -> Path:
    return next(file for folder in _package_folders() if (file := folder / f"{name}.py").is_file())


def _named(name: str, scale: str | None) -> Loaded:
    path = _path_of(name)
    module = _imported(f"{PACKAGE}.{name}", path)
    space, scale = _space_of(module, path, scale)
    return Loaded(space, _run_name(name, scale), path, scale=scale)


def _run_name(name: str, scale: str | None) -> str:
    return name if scale in (None, SCALES[0]) else f"{name}_{scale}"


def _from_file(path: Path, scale: str | None) -> Loaded:
    if not re.fullmatch(r"[\w-]+", path.stem):
        raise RequestError(
            f"search space {path}: the file's name is that of a module: letters, digits, _ and - only; rename it"
        )
    root, name = path.parent, path.stem
    while (root / "__init__.py").is_file():
        root, name = root.parent, f"{root.name}.{name}"
    folders = list(dict.fromkeys((str(root), str(path.parent))))
    _check_name(name.partition(".")[0], path, folders)
    before, loaded = list(sys.path), set(sys.modules)
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        module = _imported(name, path)
        space, scale = _space_of(module, path, scale)
    finally:
        for folder in folders:
            sys.path.remove(folder)
    traveling = travelers(name, path, folders, before, loaded)
    sys.path += [folder for folder in folders if folder not in sys.path]
    name = _run_name(path.stem, scale)
    return Loaded(space, name, path, traveling.modules, traveling.sources, traveling.imports, scale)


def _check_name(name: str, path: Path, folders: Sequence[str]) -> None:
    """Refuse a file that would take the place of somebody's module, or get another file's module in its place."""
    loaded = sys.modules.get(name)
    taken = name in sys.stdlib_module_names or (loaded is not None and not lies_in(name, loaded, folders))
    elsewhere = [folder for folder in sys.path if folder not in ("", os.getcwd(), *folders)]
    if taken or PathFinder.find_spec(name, elsewhere) is not None:
        raise RequestError(f"search space {path}: there is another module named {name!r}; rename the file")


def _imported(name: str, path: Path) -> ModuleType:
    look_beside(path.parent)
    try:
        return importlib.import_module(name)
    # whatever somebody's module raises is a mistake in it, to be shown with its place
    except (Exception, SystemExit) as error:
        raise RequestError(f"search space {place_of(error, path)}: {message(error)}") from error


def _space_of(module: ModuleType, path: Path, scale: str | None) -> tuple[Space, str | None]:
    """Return a module's space, and the scale; None of one that is no experiment: it has one size, whichever is asked for."""
    # these import torch
    from tune_lb.space.experiment import Experiment, check_scale
    from tune_lb.space.space import Space

    if "SPACE" not in vars(module):
        others = [name for name, value in vars(module).items() if isinstance(value, Space | Experiment)]
        advice = f"; {others[0]} is a Space: name it SPACE" if others else "; it must end in SPACE = Space(...)"
        raise RequestError(f"search space {path}: there is no SPACE in it{advice}")
    space = vars(module)["SPACE"]
    if isinstance(space, Experiment):
        return space.at(scale or SCALES[0]), scale
    if not isinstance(space, Space):
        raise RequestError(f"search space {path}: SPACE is a {type(space).__name__}; it must be a tune_lb.Space(...)")
    if scale is not None:
        check_scale(scale)
    return space, None

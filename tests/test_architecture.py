"""Who may import whom, what the faces offer, how long a file may be, and that what is public says what it is."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from tune_lb.data import DataSource
from tune_lb.optimizers import OptimizerSettings
from tune_lb.samplers import Sampler
from tune_lb.training.remedy import Remedy

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("tune_lb", "analysis", "search_spaces") for path in (ROOT / folder).rglob("*.py"))
LARGEST = 310

GROUND = "arithmetic errors pause streams lazy trees"
VOCABULARY = "settings budgets schedules losses prediction_errors"
ALLOWED = {
    # who: whom it may import, every package above what it uses; what is not here is refused
    "arithmetic": "",
    "errors": "",
    "pause": "",
    "streams": "",
    "lazy": "",
    "trees": "",
    "settings": "errors",
    "budgets": "settings",
    "schedules": "settings",
    "losses": "settings prediction_errors",
    "prediction_errors": "settings errors",
    "inference": "errors",
    "results": "errors pause",
    "export": "errors results",
    "samplers": "lazy errors streams settings",
    "data": "lazy errors settings trees",
    "models": "lazy errors settings",
    "optimizers": "lazy errors settings",
    "surface": "arithmetic errors losses streams trees",
    "metrics": "arithmetic lazy errors losses surface results trees",
    "training": f"{GROUND} {VOCABULARY} data models optimizers surface",
    "remedies": f"{GROUND} {VOCABULARY} data optimizers training",
    "space": f"{GROUND} {VOCABULARY} data optimizers samplers surface metrics training",
    "search": f"{GROUND} settings losses samplers space training inference",
    "observation": f"{GROUND} {VOCABULARY} data surface metrics training space results",
    "recipe": f"{GROUND} {VOCABULARY} data optimizers surface remedies training",
    "testing": f"{GROUND} {VOCABULARY} data models optimizers surface metrics training",
    "tuning": f"{GROUND} {VOCABULARY} face data models optimizers metrics samplers training space search observation results",
    "cli": "face lazy errors settings budgets schedules prediction_errors data optimizers samplers metrics training remedies space "
    "search inference observation recipe results export tuning",
    "__main__": "lazy cli errors",
    "analysis": "errors settings results inference",
    "search_spaces": "face remedies metrics models data optimizers samplers schedules budgets losses",
}
"""The house in one table. A package is a folder of tune_lb, or a module beside them; "face" is tune_lb itself."""

FACES = (
    "tune_lb",
    *(f"tune_lb.{name}" for name in ["remedies", "metrics", "models", "data", "optimizers", "samplers", "tuning"]),
)
"""Packages that offer names lazily: they name their own files, and import none of them."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package_of(module: str) -> str:
    first, *rest = module.split(".")
    return first if first != "tune_lb" else rest[0] if rest else "face"


def imports(text: str) -> set[str]:
    """Return the dotted names of all imported modules, wherever the import stands, for the type checker alone or not."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported(text: str, modules: Collection[str]) -> set[str]:
    """Return which of the modules are imported, as a whole or by a name in them."""
    names = imports(text)
    return {
        m
        for name in names
        for m in (name, name.rpartition(".")[0])
        if m in modules and not (m != name and name in modules)
    }


@functools.cache
def edges() -> dict[str, set[str]]:
    """Return which of our modules each of them imports. A face's lazy names are no imports of its own."""
    modules = {module_of(path): path for path in FILES}
    found = {name: imported(path.read_text(), modules.keys()) - {name} for name, path in modules.items()}
    return found | {face: {"tune_lb.lazy"} for face in FACES}


def refused(found: dict[str, set[str]], allowed: dict[str, str]) -> list[str]:
    """Return every import from a package into one that it may not import."""
    return sorted(
        f"{module} imports {other}"
        for module, others in found.items()
        for other in others
        if package_of(module) not in (package_of(other), "face")
        and package_of(other) not in allowed.get(package_of(module), "").split()
    )


def circles(found: dict[str, set[str]]) -> list[list[str]]:
    """Return the modules from which a way of imports leads back to them, circle by circle."""
    reach = {module: set(others) for module, others in found.items()}
    for middle in reach:
        for others in reach.values():
            if middle in others:
                others |= reach[middle]
    groups: dict[frozenset[str], None] = {}
    for module in reach:
        if module in reach[module]:
            groups[frozenset(m for m in reach[module] if module in reach.get(m, ()))] = None
    return [sorted(group) for group in groups]


def test_imports_are_found_where_they_stand():
    text = "import a.b\ndef f():\n    from c import d\nif TYPE_CHECKING:\n    import e\n"
    assert imports(text) == {"a.b", "c.d", "e"}
    assert imported(text, {"a.b", "c", "e", "f"}) == {"a.b", "c", "e"}


def test_what_is_not_allowed_and_what_goes_in_circles_is_found():
    found = {
        "tune_lb.data.a": {"tune_lb.results.b"},
        "tune_lb.results.b": {"tune_lb.results.c"},
        "tune_lb.results.c": set(),
    }
    assert refused(found, {"data": "results"}) == []
    assert refused(found, {"data": "lazy errors"}) == ["tune_lb.data.a imports tune_lb.results.b"]
    assert circles(found) == []
    assert circles(found | {"tune_lb.results.c": {"tune_lb.results.b"}}) == [["tune_lb.results.b", "tune_lb.results.c"]]


def test_every_package_imports_what_the_table_allows_and_nothing_else():
    assert refused(edges(), ALLOWED) == []
    assert {package_of(module) for module in edges()} - {"face"} == ALLOWED.keys()


def test_there_are_no_circles():
    assert circles(edges()) == []
    assert circles({who: set(whom.split()) - {"face"} for who, whom in ALLOWED.items()}) == [], "of packages"


def outside(package: str) -> set[str]:
    """Return the packages of ours of which a file imports a package of somebody else's."""
    return {
        package_of(module_of(path))
        for path in FILES
        if any(name == package or name.startswith(f"{package}.") for name in imports(path.read_text()))
    }


def test_who_knows_torch_ray_files_and_frames():
    assert outside("ray") == {"tuning"}
    assert not outside("torch") & {
        "results",
        "analysis",
        "search",
        "settings",
        "samplers",
        "budgets",
        "schedules",
        "pause",
    }
    assert outside("pyarrow") <= {"results", "analysis", "cli", "tuning"}
    assert outside("pandas") == {"analysis"}
    assert not outside("pathlib") & {"training", "remedies", "search", "surface", "metrics", "optimizers", "samplers"}
    assert not outside("time") & {"search", "training", "space", "samplers"}


def loaded_by(code: str) -> set[str]:
    """Return the modules that a process has loaded after the code."""
    code = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"torch", "numpy", "ray", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "optuna", "rich"}
    assert not heavy & loaded_by("import tune_lb, tune_lb.remedies, tune_lb.samplers.names")


def test_results_load_neither_torch_nor_pandas():
    found = loaded_by("import tune_lb.results.run_files, tune_lb.results.ledger, tune_lb.results.measurements")
    assert not {"torch", "ray", "pandas", "scipy"} & found


def test_a_space_loads_declarations_only():
    found = loaded_by("import search_spaces.quickstart")
    assert not {"ray", "pandas", "optuna", "pyarrow", "matplotlib", "torch._inductor.compile_fx"} & found
    working = ("tuning", "observation", "search", "results", "recipe", "cli", "testing")
    training = (
        "training",
        "step",
        "compiled_step",
        "phased_training",
        "microbatches",
        "microbatch_size",
        "evaluation",
        "checks",
    )
    ours = {name for name in found if name.startswith("tune_lb.")}
    assert not {name for name in ours if package_of(name) in working}
    assert not ours & {f"tune_lb.training.{name}" for name in training}


@pytest.mark.parametrize("package", FACES)
def test_a_face_offers_what_it_declares(package):
    """What editors read (the imports for the type checker) is what is there, and in the packages every class of the kind is."""
    module = importlib.import_module(package)
    path = ROOT / package.replace(".", "/") / "__init__.py"
    declared = {
        name.rpartition(".")[2]: name.rpartition(".")[0] for name in imports(path.read_text()) if "lazy" not in name
    }
    declared.pop("TYPE_CHECKING", None)
    declared = {name: home for name, home in declared.items() if home.startswith("tune_lb")}
    assert sorted(declared) == module.__all__
    assert set(module.__all__) <= set(dir(module))
    for name, home in declared.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        module.nothing_like_it  # noqa: B018


@pytest.mark.parametrize("package", ["remedies", "metrics", "models", "data", "optimizers", "samplers"])
def test_what_a_space_can_name_is_in_a_face(package):
    base = {"remedies": Remedy, "data": DataSource, "optimizers": OptimizerSettings, "samplers": Sampler}.get(package)
    offered = set(importlib.import_module(f"tune_lb.{package}").__all__)
    for path in (ROOT / "tune_lb" / package).glob("[!_]*.py"):
        module = importlib.import_module(module_of(path))
        for name, kind in vars(module).items():
            own = isinstance(kind, type) and kind.__module__ == module.__name__ and dataclasses.is_dataclass(kind)
            is_one = issubclass(kind, base) if own and base else hasattr(kind, "measure") or package == "models"
            wanted = own and is_one
            if wanted and not name.startswith("_") and name not in ("OwnData", "PublishedSource"):
                assert name in offered, f"{name} of {name_of(path)}"


@pytest.mark.parametrize("path", [p for p in FILES if p.is_relative_to(ROOT / "search_spaces")], ids=name_of)
def test_a_space_needs_few_imports(path):
    shared = "from search_spaces._"
    lines = [
        line
        for line in path.read_text().splitlines()
        if line.startswith(("import ", "from ")) and not line.startswith(shared)
    ]
    assert len(lines) <= 8


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_short_enough_to_be_read(path):
    assert len(path.read_text().splitlines()) <= LARGEST


def undocumented(text: str) -> list[str]:
    """Return the public classes, functions and methods without a docstring."""
    tree = ast.parse(text)
    found = [] if ast.get_docstring(tree) or not tree.body else ["module"]
    parents: list[tuple[str, ast.AST]] = [("", tree)]
    while parents:
        prefix, parent = parents.pop()
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                if ast.get_docstring(node) is None:
                    found.append(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    parents.append((f"{prefix}{node.name}.", node))
    return found


def test_what_lacks_a_docstring_is_found():
    assert undocumented('"""M."""\nclass A:\n    def f(self): pass\n    def _g(self): pass\n') == ["A", "A.f"]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_public_has_a_docstring(path):
    assert undocumented(path.read_text()) == []

"""Who may import whom, how long a file may be, and that what is public says what it is."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("tune_lb", "analysis", "search_spaces") for path in (ROOT / folder).rglob("*.py"))
LARGEST = 310


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def imports(text: str) -> set[str]:
    """Return the dotted names of all imported modules, wherever the import stands; not those for the type checker alone."""
    found = set()
    tree = ast.parse(text)
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test).endswith("TYPE_CHECKING")
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def importing(package: str, files: list[Path] = FILES) -> set[str]:
    """Return the files that import the package or a part of it."""
    return {
        name_of(path)
        for path in files
        if any(name == package or name.startswith(f"{package}.") for name in imports(path.read_text()))
    }


def inside(folder: str) -> list[Path]:
    return [path for path in FILES if path.is_relative_to(ROOT / folder)]


def test_imports_are_found_where_they_stand():
    text = "import a.b\ndef f():\n    from c import d\nif TYPE_CHECKING:\n    import e\n"
    assert imports(text) == {"a.b", "c", "c.d"}


def test_only_two_files_import_ray():
    assert importing("ray") <= {"tune_lb/trainable.py", "tune_lb/tuning.py"}
    assert importing("ray")


def test_results_and_storage_know_nothing_of_torch():
    files = [
        ROOT / "tune_lb" / f"{name}.py"
        for name in ("results", "storage", "ledger", "columns", "tables", "merger", "measurements", "errors")
    ]
    assert importing("torch", files) == importing("ray", files) == set()
    # nor of anything of ours that does
    own = {name.split(".")[1] for path in files for name in imports(path.read_text()) if name.startswith("tune_lb.")}
    assert own <= {path.stem for path in files} | {"pause"}
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, tune_lb.results, tune_lb.storage, tune_lb.ledger; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split()
    assert not {"torch", "ray", "pandas", "scipy"} & set(loaded)


def test_the_framework_knows_no_space_and_no_analysis():
    assert importing("search_spaces", inside("tune_lb")) == importing("analysis", inside("tune_lb")) == set()


def test_the_analysis_reads_results_alone():
    files = inside("analysis")
    assert importing("torch", files) == importing("ray", files) == importing("search_spaces", files) == set()
    own = {name for path in files for name in imports(path.read_text()) if name.startswith("tune_lb.")}
    allowed = ("results", "storage", "ledger", "columns", "tables", "merger", "measurements", "errors")
    assert {name.split(".")[1] for name in own} <= set(allowed)


def test_the_planner_has_no_ray_no_files_no_clock():
    planner = [ROOT / "tune_lb" / "search.py"]
    for package in ("ray", "pyarrow", "pathlib", "os", "time", "torch", "tune_lb.storage", "tune_lb.results"):
        assert importing(package, planner) == set(), package


def test_training_has_no_ray_and_no_files():
    parts = [
        ROOT / "tune_lb" / f"{name}.py" for name in ("training", "gradient", "remedy", "evaluation", "surface", "trial")
    ]
    parts += list((ROOT / "tune_lb" / "remedies").glob("*.py"))
    for package in ("ray", "pyarrow", "pathlib", "tune_lb.storage", "tune_lb.results", "tune_lb.tuning"):
        assert importing(package, parts) == set(), package


def test_the_core_does_not_name_its_leaves():
    core = [
        ROOT / "tune_lb" / f"{name}.py" for name in ("training", "trial", "gradient", "remedy", "space", "evaluation")
    ]
    for leaves in ("tune_lb.remedies", "tune_lb.metrics", "tune_lb.models"):
        assert importing(leaves, core) == set(), leaves


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, tune_lb; print(*(name for name in sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    heavy = {"torch", "numpy", "ray", "pandas", "pyarrow", "scipy", "sklearn", "matplotlib", "optuna", "rich"}
    assert "tune_lb" in loaded
    assert not heavy & set(loaded)


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

"""Modules of a project travel with its space, wherever they lie; what others must have is known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.space.test_loading import SPACE
from tune_lb.space.loading import Loaded, load_space

MODULE = "import numpy\ndef make(shape, classes):\n    import later_{0}\n    return later_{0}.network(shape, classes)\n"


def project(folder: Path, tag: str, way: str) -> Path:
    """Write a project with src/ and a space in experiments/ that imports from it; return the space."""
    for place in (f"src/lib_{tag}", "experiments"):
        (folder / place).mkdir(parents=True)
    (folder / f"src/lib_{tag}/__init__.py").write_text(f"from .nets import make\n__all__ = ['make']\n{MODULE[:13]}")
    (folder / f"src/lib_{tag}/nets.py").write_text(MODULE.format(tag))
    (folder / f"src/later_{tag}.py").write_text("def network(shape, classes):\n    return None\n")
    space = folder / f"experiments/space_{tag}.py"
    space.write_text(f"import site, sys\nfrom pathlib import Path\n{way}\nfrom lib_{tag} import make\n{SPACE}")
    return space


@pytest.mark.parametrize(
    ("tag", "way"),
    [
        ("first", "sys.path.insert(0, str(Path(__file__).parent.parent / 'src'))"),
        ("dots", "sys.path.append(str(Path(__file__).parent / '..' / 'src'))"),
        ("site", "site.addsitedir(str(Path(__file__).parents[1] / 'src'))"),
        ("relative", "sys.path.insert(0, 'src')"),
    ],
)
def test_src_layout_b12(tag: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = project(tmp_path, tag, way)
    for loaded in (load_space(str(path)), load_space(str(path))):
        assert loaded.modules == (f"lib_{tag}", f"space_{tag}")
        assert list(loaded.sources) == [f"later_{tag}", f"lib_{tag}", f"lib_{tag}.nets", f"space_{tag}"]
        assert loaded.imports == ("numpy",)


def test_modules_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python -m tune_lb` finds them, from the root of a project."""
    path = project(tmp_path, "here", "")
    monkeypatch.chdir(tmp_path / "src")
    monkeypatch.syspath_prepend("")
    assert load_space(str(path)).modules == ("lib_here", "space_here")


def test_what_workers_find_by_themselves_does_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONPATH, or a package installed in editable mode: it must be there, and is not sent."""
    path = project(tmp_path, "env", "")
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    loaded = load_space(str(path))
    assert (loaded.modules, loaded.imports) == (("space_env",), ("lib_env",))


def test_a_package_with_compiled_parts_does_not_travel(tmp_path: Path) -> None:
    path = project(tmp_path, "compiled", "sys.path.insert(0, str(Path(__file__).parents[1] / 'src'))")
    made = tmp_path / "src" / "lib_compiled"
    (made / "nets.py").write_text(
        "import sys, types\nfast = types.ModuleType('lib_compiled.fast')\n"
        f"fast.__file__ = {str(made / 'fast.so')!r}\nsys.modules['lib_compiled.fast'] = fast\nmake = None\n"
    )
    loaded: Loaded = load_space(str(path))
    sys.modules.pop("lib_compiled.fast")
    assert loaded.modules == ("space_compiled",)
    assert "lib_compiled" in loaded.imports

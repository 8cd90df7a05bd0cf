"""Modules beside a space are importable by a process that has never seen their folder."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib.util import module_from_spec
from pathlib import Path

import pytest

from tests.killing import REPOSITORY
from tune_lb.space.sources import SourceImporter, sources_beside

FILES = {
    "space_s.py": "import eager_s, json\ndef late():\n    import lazy_s\n    return lazy_s.value()\n",
    "eager_s.py": "import numpy\n",
    "lazy_s.py": "def value():\n    from pack_s.deep import inner\n    import importlib\n"
    "    return inner.VALUE + importlib.import_module('named_s').VALUE\n",
    "pack_s/__init__.py": "",
    "pack_s/deep/inner.py": "from .. import sibling\nfrom .cousin import ONE\nVALUE = sibling.VALUE + ONE\n",
    "pack_s/deep/cousin.py": "ONE = 1\n",
    "pack_s/sibling.py": "VALUE = 10\n",
    "named_s.py": "VALUE = 100\n",
    "unused_s.py": "",
    "broken_s.py": "x = (\n",
}


def written(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_all_that_may_be_imported_is_found_and_nothing_else(tmp_path: Path) -> None:
    found = sources_beside("space_s", [written(tmp_path)])
    names = "eager_s lazy_s named_s pack_s pack_s.deep pack_s.deep.cousin pack_s.deep.inner pack_s.sibling space_s"
    assert list(found) == names.split()
    assert found["pack_s.deep"].is_package
    assert not found["lazy_s"].is_package
    assert sources_beside("broken_s", [tmp_path]).keys() == {"broken_s"}
    assert sources_beside("nothing_s", [tmp_path]) == {}


def test_another_machine_imports_them_when_it_comes_to_it(tmp_path: Path) -> None:
    found = sources_beside("space_s", [written(tmp_path)])
    sent = pickle.dumps(found)
    code = (
        "import pickle, sys\nfrom tune_lb.space.sources import install\n"
        f"sources = pickle.loads({sent!r})\ninstall(sources)\ninstall(sources)\n"
        "import space_s\nprint(space_s.late(), sum(type(f).__name__ == 'SourceImporter' for f in sys.meta_path))\n"
        "try:\n    import unused_s\nexcept ModuleNotFoundError:\n    print('not sent')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env={"PYTHONPATH": str(REPOSITORY)}
    )
    assert done.stderr == ""
    assert done.stdout.split("\n")[:2] == ["111 1", "not sent"]


def test_an_error_in_such_a_module_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "fails_s.py").write_text("\n\nint('x')\n")
    importer = SourceImporter(sources_beside("fails_s", [tmp_path]))
    (tmp_path / "fails_s.py").unlink()
    spec = importer.find_spec("fails_s", None)
    assert spec is not None
    with pytest.raises(ValueError, match="invalid literal") as caught:
        importer.exec_module(module_from_spec(spec))
    assert (str(caught.traceback[-1].path), caught.traceback[-1].lineno) == (str(tmp_path / "fails_s.py"), 2)
    assert importer.find_spec("other_s", None) is None

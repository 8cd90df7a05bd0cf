"""The code that trials use is told by definitions: what moves numbers counts, what does not does not (A5)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tune_lb.space import definitions
from tune_lb.space.checks import checked_designs
from tune_lb.space.loading import load_space, space_names
from tune_lb.space.own_code import Code, code_of, code_of_arms, differences, fingerprint

NETS = '''
"""About nets."""
import functools
import torch
from torch import nn
from torch.nn.functional import relu
import sizes_c
from parts_c import *
from parts_c.deep import inner as deepest

def helper(x):
    "What it does."
    return relu(x)

def unused():
    return 3

def scaled(by):
    def decorate(function):
        @functools.wraps(function)
        def made(*given):
            return function(*given), by
        return made
    return decorate

TABLE = {"a": 1}
TABLE["b"] = 2

class Base(nn.Module):
    width = 3

class Net(Base):
    """A network."""
    def forward(self, x):
        import late_c
        return helper(x) * sizes_c.WIDTH + deepest.bias() + starred() + late_c.VALUE + TABLE["b"]

# made here
@scaled(2)
def make(shape, classes):
    return Net()

def other(shape, classes):
    return Base()

SPACE = [make, 1]
'''
FILES = {
    "nets_c.py": NETS,
    "sizes_c.py": "import os\nWIDTH = int(os.environ.get('TUNE_LB_TEST_WIDTH', 8))\n",
    "late_c.py": "VALUE = 5\n",
    "parts_c/__init__.py": "from .deep.inner import bias\n",
    "parts_c/deep/__init__.py": "",
    "parts_c/deep/inner.py": "def bias():\n    return 1\ndef starred_elsewhere(): return 2\n",
}
FILES["parts_c/__init__.py"] += "def starred():\n    return bias()\n"

Read = Callable[..., Code]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Write the files, with changes as (file, old, new), import them anew and return the code of a function of nets_c."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def code(*changes: tuple[str, str, str], of: str = "make") -> Code:
        for file, text in FILES.items():
            for _, old, new in [change for change in changes if change[0] == file]:
                assert old in text
                text = text.replace(old, new)
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
        for name in [name for name in sys.modules if name.partition(".")[0].endswith("_c")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        definitions.forget()
        return code_of([getattr(importlib.import_module("nets_c"), of)])

    return code


def test_all_that_is_used_and_nothing_else(read: Read) -> None:
    names = {key.partition(":")[2] for key in read()}
    assert names == {
        "make",
        "make (given)",
        "scaled",
        "Net",
        "Base",
        "helper",
        "TABLE",
        "WIDTH",
        "VALUE",
        "bias",
        "starred",
    }
    assert {key.partition(":")[2] for key in read(of="other")} == {"other", "Base"}


SAME = {
    "comment": ("nets_c.py", "# made here", "# made there"),
    "layout": ("nets_c.py", "    return Net()", "    return (\n        Net()\n    )"),
    "docstring": ("nets_c.py", '"What it does."', '"""What it really does."""'),
    "module's docstring": ("nets_c.py", '"""About nets."""', '"""About networks."""'),
    "what is not used": ("nets_c.py", "return 3", "return 4"),
    "not used in another module": ("parts_c/deep/inner.py", "return 2", "return 3"),
    "SPACE": ("nets_c.py", "SPACE = [make, 1]", "SPACE = [make, other, 2]"),
    "the import path": (
        "nets_c.py",
        "import torch\n",
        "import torch, sys\nsys.path.append('/nowhere')\nprint('hello')\n",
    ),
    "a main block": ("sizes_c.py", "import os\n", "import os\nif __name__ == '__main__':\n    WIDTH = 3\n"),
}
DIFFERENT = {
    "the function": ("nets_c.py", "return Net()", "return Net().double()", "make in nets_c.py changed"),
    "a base class": ("nets_c.py", "width = 3", "width = 4", "Base in nets_c.py changed"),
    "what it calls": ("nets_c.py", "return relu(x)", "return relu(x) + 1", "helper in nets_c.py changed"),
    "a decorator's argument": ("nets_c.py", "@scaled(2)", "@scaled(3)", "make (given) in nets_c.py changed"),
    "a changed table": ("nets_c.py", 'TABLE["b"] = 2', 'TABLE["b"] = 3', "TABLE in nets_c.py changed"),
    "another import": ("nets_c.py", "import relu", "import gelu as relu", "helper in nets_c.py changed"),
    "a global elsewhere": ("sizes_c.py", "8)", "9)", "WIDTH in sizes_c.py changed"),
    "a late import": ("late_c.py", "5", "6", "VALUE in late_c.py changed"),
    "deep in a package": ("parts_c/deep/inner.py", "return 1", "return 2", "bias in inner.py changed"),
    "by a star": ("parts_c/__init__.py", "return bias()", "return -bias()", "starred in __init__.py changed"),
    "a statement": (
        "nets_c.py",
        "import torch\n",
        "import torch\ntorch.manual_seed(0)\n",
        "what is done at the top level of nets_c.py is new",
    ),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_moves_no_number_does_not_count(change: tuple[str, str, str], read: Read) -> None:
    before, after = read(), read(change)
    assert (differences(before, after), fingerprint(before)) == ([], fingerprint(after))


@pytest.mark.parametrize("change", DIFFERENT.values(), ids=DIFFERENT)
def test_what_may_move_numbers_is_named(change: tuple[str, str, str, str], read: Read) -> None:
    before, after = read(), read(change[:3])
    assert change[3] in differences(before, after)
    assert fingerprint(before) != fingerprint(after)


def test_a_value_from_outside_counts(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read()
    monkeypatch.setenv("TUNE_LB_TEST_WIDTH", "16")
    assert differences(before, read()) == ["WIDTH in sizes_c.py changed"]


def test_a_definition_that_only_moved_is_the_same() -> None:
    old, new = {"a:f": "1", "a:g": "2"}, {"b.c:f": "1", "a:g": "2"}
    assert fingerprint(old) == fingerprint(new)
    assert differences(old, new) == []
    assert differences(old, {"b.c:f": "3", "a:g": "2"}) == ["f in a.py is used no more", "f in b/c.py is new"]
    assert fingerprint({}) == ""


def test_our_own_spaces_use_no_code_of_a_user() -> None:
    for name in space_names():
        assert not any(code_of_arms(checked_designs(load_space(name).space)).values())

"""A process says which modules it lacks, given what it is sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.space.test_loading import SPACE
from tune_lb.space.loading import load_space
from tune_lb.space.sources import Source
from tune_lb.tuning.reach import lacking


def test_another_process_says_what_it_lacks() -> None:
    sources = {"sent_r": Source("/nowhere/sent_r.py", "VALUE = 3\n")}
    code = (
        "from tune_lb.space.sources import Source\nfrom tune_lb.tuning.reach import lacking\n"
        f"print(lacking(['sent_r', 'json', 'not_there_r'], {sources!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['not_there_r']\n"
    assert lacking(["json", "not_there_r"], {}) == ["not_there_r"]


def test_an_editable_install_must_be_there_and_is_not_sent_b12(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies outside of the libraries, on a path that every process of this machine has."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "editable_r.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    (tmp_path / "mine_r.py").write_text(f"import editable_r\n{SPACE}")
    loaded = load_space(str(tmp_path / "mine_r.py"))
    assert (loaded.modules, loaded.imports) == (("mine_r",), ("editable_r",))

"""What the documents show is true: blocks run, links lead somewhere, names are there, commands are understood."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from tests.docs.blocks import ALL, CARDS, ROOT, WRITTEN, blocks, name_of, own, saved
from tune_lb.cli.arguments import parse
from tune_lb.space.loading import load_space

OPTIONAL = ("polars", "duckdb")
"""What documents show and tune_lb does without."""


@pytest.mark.parametrize("block", [block for path in (*WRITTEN, *CARDS) for block in blocks(path)], ids=name_of)
def test_every_block_runs(block, folder, monkeypatch):
    for name in re.findall(rf"^import ({'|'.join(OPTIONAL)})\b", block.text, re.M):
        pytest.importorskip(name, reason=f"pip install {name}")
    monkeypatch.chdir(ROOT)  # README: RUN is a committed run
    for beside in ("class Smoothing", "class GradientNorm"):
        own(beside, folder)
    saved(block, folder, "shown")


# Links, paths and names


def prose(path: Path) -> str:
    """Return a document without its blocks of code."""
    return re.sub(r"^```.*?^```$|^    [^\n]*$", "", path.read_text(), flags=re.S | re.M)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_every_link_leads_to_a_file(path):
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(path))):
        to, _, anchor = link.partition("#")
        if re.match(r"\w+:", to):
            continue
        target = (path.parent / to) if to else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize("path", [*WRITTEN, ROOT / "benchmarks" / "README.md"], ids=name_of)
def test_paths_and_modules_that_are_named_are_there(path):
    missing = []
    for word in re.findall(r"`([^`\n]+)`", prose(path)):
        if re.fullmatch(r"(tune_lb|analysis|tests|docs|search_spaces|benchmarks)/[\w./*]*", word):
            missing += [] if any(ROOT.glob(word.rstrip("/"))) else [word]
        elif re.fullmatch(r"tune_lb(\.\w+)+", word):
            missing += [] if resolves(word) else [word]
        elif found := re.fullmatch(r"from (tune_lb[\w.]*|analysis) import ([\w, ]+)", word):
            exec(found[0], {})
    assert missing == []


def resolves(word: str) -> bool:
    """Say whether a dotted name is that of a module, or of something in one."""
    try:
        importlib.import_module(word)
    except ImportError:
        module, _, name = word.rpartition(".")
        return hasattr(importlib.import_module(module), name)
    return True


def test_what_is_named_and_not_there_is_found():
    assert not resolves("tune_lb.testing.check_nothing")
    assert "remedies" in anchors(ROOT / "docs" / "own.md")
    assert "no-such-heading" not in anchors(ROOT / "docs" / "own.md")


# The import table of CHANGELOG.md

TABLE = re.findall(r"^  \| (`from.*?) \| (.*?) \|$", (ROOT / "CHANGELOG.md").read_text(), re.M)


@pytest.mark.parametrize(("before", "now"), TABLE, ids=lambda cell: cell.strip("`")[:50])
def test_the_import_table_is_true(before, now):
    old = re.findall(r"`(from [\w.]+ import [\w, ]+)`", before)
    names = ", ".join(statement.partition(" import ")[2] for statement in old)
    new = [re.sub(r"import \.\.\.$", f"import {names}", text) for text in re.findall(r"`(from [^`]+)`", now)]
    assert new or now == "unchanged"
    for statement in new:
        exec(statement, {})
    if "still works" in now or now == "unchanged":
        for statement in old:
            exec(statement, {})


def test_the_import_table_is_read():
    assert len(TABLE) > 20


# Commands


def commands(path: Path) -> list[str]:
    """Return the command lines of the program in a document's blocks of code, and those in the text that are whole."""
    text = re.sub(r"^```python.*?^```$", "", path.read_text(), flags=re.S | re.M)
    program = r"(?:tune-lb|python -m tune_lb) "
    shown = [re.search(rf"{program}((?:\"[^\"]*\"|[^#\"&|>])+)", line) for line in re.findall(r"^    .*$", text, re.M)]
    inline = [re.fullmatch(rf"{program}(\w+ .+)", code) for code in re.findall(r"`([^`\n]+)`", prose(path))]
    return [match[1].strip() for match in (*shown, *inline) if match]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (path, line)
        for path in [*WRITTEN, *sorted((ROOT / "docs" / "answers").glob("*.md")), *CARDS]
        for line in commands(path)
    ],
    ids=name_of,
)
def test_every_command_is_understood(path, line):
    given = parse(shlex.split(line))
    if given.command in ("search", "show", "train") and not (given.space.isupper() or given.space.endswith(".py")):
        load_space(given.space)


def test_a_command_that_is_wrong_is_found(capsys):
    assert len(commands(ROOT / "README.md")) >= 9
    with pytest.raises(SystemExit):
        parse(["search", "quickstart", "--no-such-option"])
    assert "--no-such-option" in capsys.readouterr().err

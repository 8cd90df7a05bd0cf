"""The documents, and their blocks of code as modules."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CARDS = sorted(path for name in ("remedies", "metrics") for path in (ROOT / "docs" / name).glob("*.md"))
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
REPORTS = sorted((ROOT / "docs" / "results").rglob("*.md"))
ALL = [*WRITTEN, *CARDS, *REPORTS, *sorted((ROOT / "docs" / "answers").glob("*.md"))]
ALL += [ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"]


class Block(NamedTuple):
    """A python block of a document: the file, the line that it begins at, and its text."""

    path: Path
    line: int
    text: str


def name_of(value: object) -> str:
    if isinstance(value, Block):
        return f"{value.path.relative_to(ROOT)}:{value.line}"
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.S | re.M)
    return [Block(path, text.count("\n", 0, block.start()) + 1, block[1]) for block in found]


def saved(block: Block, folder: Path, name: str) -> ModuleType:
    """Return a block as a module of a file of its own."""
    (folder / f"{name}.py").write_text(block.text)
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def block_with(path: Path, text: str) -> Block:
    return next(block for block in blocks(path) if re.search(rf"{re.escape(text)}(?!\w)", block.text))


def own(text: str, folder: Path) -> ModuleType:
    """Return the block that begins a class or function so, as a module: class GradientNorm, gradient_norm.py.

    Of docs/own.md, or of docs/your_network.md.
    """
    document = next(d for d in ("own", "your_network") if text in (ROOT / "docs" / f"{d}.md").read_text())
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text.split()[1]).lower()
    return saved(block_with(ROOT / "docs" / f"{document}.md", text), folder, name)

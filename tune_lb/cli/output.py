"""Where output goes: for people to stdout, or with --json one object to stdout and all else to stderr."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from tune_lb.errors import PROGRAM

PLAIN_WIDTH = 120
"""Columns of a table that does not go to a terminal."""


class Output:
    """The output of one command."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.stdout = sys.stdout
        """As it was at the start: what code of the user's prints later goes elsewhere where stdout is for machines."""
        stream = sys.stderr if as_json else sys.stdout
        width = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
        self.console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        """Say whether somebody watches: then lines may be drawn over."""
        return self.console.is_terminal

    def line(self, text: str = "", style: str | None = None) -> None:
        """Print a line, never broken at the width of the window: paths and commands can be copied."""
        self.console.print(Text(text, style=style or ""), soft_wrap=True)

    def paragraph(self, text: str, style: str | None = None) -> None:
        """Print a sentence, broken between words."""
        self.console.print(Text(text, style=style or ""))

    def show(self, renderable: RenderableType) -> None:
        """Print a table."""
        self.console.print(renderable)

    def close(self, result: dict[str, Any], following: str, mark: str = "") -> None:
        """End a command: name the next one (after a mark), and print the result where --json asks for it."""
        self.line(f"{mark}next: {following}", style="bold")
        if self.as_json:
            print(json.dumps({**result, "next": following}, allow_nan=False), file=self.stdout, flush=True)


def command(*words: str) -> str:
    """Return a command of this program as it is typed."""
    return f"{PROGRAM} {shlex.join(words)}"


def on_run(verb: str, name: str, storage: str, *words: str) -> str:
    """Return a command on a run, with its storage where that is not the default."""
    return command(verb, name, *words, *(["--storage", storage] if storage != "runs" else []))


def duration(seconds: float) -> str:
    """Return seconds as 12 s, 3 min 20 s, 2 h 05 min or 3 days 4 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole or seconds == 0 else "under 1 s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours < 48 else f"{hours // 24:,} days {hours % 24} h"


def size(num_bytes: float) -> str:
    """Return bytes as 3.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def number(value: Any) -> str:
    """Return a value of a configuration for people: floats to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def listed(values: Sequence[str]) -> str:
    """Return "a, b, c", or "none"."""
    return ", ".join(values) or "none"

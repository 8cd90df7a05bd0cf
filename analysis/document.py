"""A report before it is written: sections of texts, lists, tables and figures, which Markdown and the page both render."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from analysis.notation import MISSING


@dataclass(frozen=True)
class Text:
    """A paragraph. marked: whether *...* and `...` in it are marks; names of arms and files may hold such characters by chance."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list, a line each."""

    lines: tuple[str, ...]
    marked: bool = False


@dataclass(frozen=True)
class Table:
    """Rows with equal keys, title -> cell, as they are printed. name: what its file and its place in the page are called."""

    name: str
    rows: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """A figure: name of its file without suffix, and what it shows."""

    name: str
    caption: str


@dataclass(frozen=True)
class Chart:
    """What only the page shows, drawn there from plain values. kind: the function of the page's script that draws it."""

    kind: str
    caption: str
    data: Mapping[str, object]


Part = Text | Bullets | Table | Picture | Chart


@dataclass(frozen=True)
class Section:
    """A title and its parts. short: its name in a list of contents."""

    title: str
    parts: tuple[Part, ...]
    short: str = ""

    @property
    def anchor(self) -> str:
        """The title as the place in a page is called: "was-the-search-large-enough"."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """A whole report: the name of the run, what was asked, and the sections, the answer first."""

    title: str
    question: str
    sections: tuple[Section, ...]

    def tables(self) -> list[Table]:
        """All tables, in order."""
        return [part for section in self.sections for part in section.parts if isinstance(part, Table)]


def section(title: str, parts: Iterable[Part | None], short: str = "") -> list[Section]:
    """The section of what there is; none where there is nothing but texts about it."""
    there = tuple(part for part in parts if part is not None and not (isinstance(part, Table) and not part.rows))
    return [Section(title, there, short or title)] if any(not isinstance(part, Text) for part in there) else []


def table(name: str, rows: Iterable[Mapping[str, str]]) -> Table:
    """A table of rows with equal keys."""
    return Table(name, tuple(rows))


def filled(name: str, rows: Sequence[Mapping[str, str]]) -> Table:
    """A table of rows without the columns that are empty in all of them."""
    kept = [title for title in (rows[0] if rows else ()) if any(row[title] not in ("", MISSING) for row in rows)]
    return table(name, [{title: row[title] for title in kept} for row in rows])


def bullets(lines: Iterable[str], *, marked: bool = False) -> Bullets:
    """A list of lines."""
    return Bullets(tuple(lines), marked)

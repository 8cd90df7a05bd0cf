"""From docstrings and values to Markdown.

Formulas are plain text in docstrings: a paragraph that begins with one becomes a code block, in all others only what Markdown
would eat is escaped.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

LABELS = ("Source", "Sources", "Departure", "Departures", "Neutral", "Cost", "Trap", "Traps")


class Piece(NamedTuple):
    """A part of a docstring. label: "Cost", the names of fields it is on, "" for none. code: it states a formula."""

    label: str
    text: str
    code: bool = False


def pieces(text: str, fields: Sequence[str] = ()) -> list[Piece]:
    """Return the paragraphs of a docstring after the first sentence, cut where a label or a field's name begins.

    A line break after a full stop is the author's where the next word would have fitted before it, and after a source.
    """
    width = max(map(len, text.splitlines()))
    field = "|".join(map(re.escape, fields)) or "(?!)"
    label = rf"(?:{'|'.join(LABELS)}|(?:{field})(?:, (?:{field}))*): "
    found: list[Piece] = []
    for paragraph in text.split("\n\n")[1:]:
        parts = [
            part
            for piece in _lines_joined(paragraph, width, label)
            for part in re.split(rf"(?<=\. )(?={label})", piece)
        ]
        head = next((i for i, part in enumerate(parts) if re.match(label, part)), len(parts))
        if head and re.search(r" (=|<-|~) ", parts[0].splitlines()[0]):
            found.append(Piece("", "\n".join(parts[:head]), code=True))
            parts = parts[head:]
        for part in parts:
            begins = re.match(label, part)
            found.append(Piece(begins[0][:-2], part[begins.end() :]) if begins else Piece("", part))
    return [piece._replace(text=piece.text.rstrip()) for piece in found]


def _lines_joined(paragraph: str, width: int, label: str) -> list[str]:
    parts: list[str] = []
    for line in paragraph.splitlines():
        last = parts[-1].splitlines()[-1] if parts else ""
        fits = len(last) + 1 + len(line.split(" ")[0]) <= width
        begins = fits or re.match(label, line) or (parts and re.search(r"(^|\. )Sources?: ", parts[-1]))
        if not parts or (last.endswith(".") and begins):
            parts.append(line)
        else:
            parts[-1] += f"\n{line}"
    return parts


def escaped(text: str, *, cell: bool = False) -> str:
    """Return plain text as Markdown that shows it; what stands in backticks is code already. cell: in a table."""
    parts = re.split(r"(`[^`\n]+`)", text)
    for i in range(0, len(parts), 2):
        part = parts[i].replace("\\", r"\\")
        part = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", part)
        parts[i] = re.sub(r"[*~$]|(?<=\])\(|<(?=[A-Za-z/!?])|&(?=\w+;|#)", r"\\\g<0>", part)
    joined = "".join(parts)
    if cell:
        return " ".join(joined.split()).replace("|", r"\|")
    # what would begin a list, a heading or a quotation
    joined = re.sub(r"(?m)^([-+#>=])(?=\s|=|$)", r"\\\1", joined)
    return re.sub(r"(?m)^(\d+)([.)])(?=\s)", r"\1\\\2", joined)


def code(text: object) -> str:
    """Return text as a code span that may stand in a table."""
    return f"`{text}`".replace("|", r"\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of cells that are Markdown already."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def blocks(of: Iterable[Piece], links: Mapping[str, str]) -> list[str]:
    """Return pieces of a docstring as blocks of Markdown; links: see `linked`."""
    found = []
    for piece in of:
        text = f"```text\n{piece.text}\n```" if piece.code else linked(escaped(piece.text), links)
        found.append(f"**{piece.label}**: {text}" if piece.label else text)
    return found


def linked(text: str, links: Mapping[str, str]) -> str:
    """Return Markdown in which `see NAME` is a link, where there is a page of that name."""

    def link(found: re.Match[str]) -> str:
        return f"see [{found[1]}]({links[found[1]]})" if found[1] in links else found[0]

    return re.sub(r"\bsee (\w+)", link, text)


def first_sentence(of: Any) -> str:
    """Return the first paragraph of a docstring, which is one sentence."""
    return " ".join((inspect.getdoc(of) or "").partition("\n\n")[0].split())


def default(value: object) -> str:
    """Return a default as it would be written."""
    if value is dataclasses.MISSING:
        return "(to be given)"
    return code(repr(value))


def type_text(hint: Any) -> str:
    """Return a type as it would be written, names of choices spelled out."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(map(repr, parts))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(type_text, parts))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(type_text, parts))}]"
    if hint is type(None) or hint is ...:
        return "None" if hint is type(None) else "..."
    return getattr(hint, "__name__", str(hint))


def page(of: str, *parts: str) -> str:
    """Return a file: a comment that says how it is made, and its parts with an empty line between them."""
    made = f"<!-- Made from {of} by `python docs/make.py`. Change it there, and run that again. -->"
    return "\n\n".join([made, *filter(None, parts)]) + "\n"

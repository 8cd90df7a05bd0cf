"""A report as a page of HTML: the same document as the Markdown, figures as SVG, its style and script inside."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.caveats import Caveat, Lead
from analysis.document import Document, Part, Section

NUMBER = re.compile(r"^[+-]?[\d,]*\.?\d+(e[+-]?\d+)?(?![\w.])")
_MEASURED = re.compile(r"^(?P<value>[+-]?[\d,.]+(?:e[+-]?\d+)?(?: %)?)(?P<rest> \[.*\]| \+- .*)?$")
_MARKS = ((re.compile(r"\*(?=\S)(.+?)(?<=\S)\*"), r"<em>\1</em>"), (re.compile(r"`(.+?)`"), r"<code>\1</code>"))
_MISSING = ("-", "")
MOST_IN_LINE = 34


class Drawn(Protocol):
    """What the page shows of a figure."""

    @property
    def title(self) -> str:
        """What it shows, in a sentence."""

    @property
    def note(self) -> str:
        """How it is read."""

    @property
    def svg(self) -> str:
        """The element <svg>."""


@dataclass(frozen=True)
class Looks:
    """What the page has beside the document: figures by name, colours of arms, and the mark of each arm (see `mark`)."""

    drawings: Mapping[str, Drawn] = field(default_factory=dict)
    colours: Mapping[str, str] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)


def page(document: Document, looks: Looks) -> str:
    """The whole page. All names and texts are escaped; its own script is the only one that a browser runs in it.

    No request to anywhere: a policy in its head forbids them, and nothing asks for one.
    """
    style, script = _own("page.css"), _own("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _templates()
        .get_template("page.html.jinja")
        .render(
            document=document,
            looks=looks,
            style=Markup(style),
            script=Markup(script),
            digest=digest,
        )
    )


@cache
def _own(name: str) -> str:
    return files("analysis.page").joinpath(name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("analysis.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"marked": marked, "breaks": breaks, "cell": cell, "value": value, "minus": minus, "svg": Markup}
    found.globals |= {
        "kind": kind,
        "caveats": caveats,
        "leads": leads,
        "long": long,
        "findings": findings,
        "numeric": numeric,
        "captioned": captioned,
    }
    return found


def kind(part: Part) -> str:
    """The name of a part's class: which macro renders it."""
    return type(part).__name__


def leads(lines: tuple[str, ...]) -> list[str]:
    """The lines that answer what was asked."""
    return [line for line in lines if isinstance(line, Lead)]


def findings(lines: tuple[str, ...]) -> list[str]:
    """The lines that are neither leads nor caveats."""
    return [line for line in lines if not isinstance(line, Lead | Caveat)]


def caveats(lines: tuple[str, ...]) -> dict[str, list[str]]:
    """The caveats by their kind."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if isinstance(line, Caveat):
            found.setdefault(line.kind, []).append(str(line))
    return found


def marked(text: str) -> Markup:
    """Escaped text with its marks *...* and `...` as elements."""
    found = str(escape(text))
    for mark, element in _MARKS:
        found = mark.sub(element, found)
    return Markup(found)


def breaks(text: str) -> Markup:
    """A name that may be broken after its underscores and dots."""
    return Markup(re.sub(r"([_./])(?=\w)", r"\1<wbr>", str(escape(text))))


def minus(text: str) -> str:
    """A text with the signs of typography for those of the keyboard: minus before numbers, plus-minus."""
    return re.sub(r"(?<![\w.\u2212-])-(?=\d)", "\u2212", text.replace("+-", "\u00b1"))


def cell(text: str) -> Markup:
    """A cell: of a number with an interval or spread, these in an element of their own."""
    if text in _MISSING:
        return Markup('<span class="missing">\u2013</span>') if text else Markup("")
    found = _MEASURED.match(text)
    if found is None:
        return escape(minus(text)) if NUMBER.match(text) or text.startswith("[") else escape(text)
    rest = f'<span class="spread">{escape(minus(found["rest"]))}</span>' if found["rest"] else ""
    return Markup(f"{escape(minus(found['value']))}{rest}")


def value(text: str) -> str:
    """What a cell is sorted by: its first number; "" where it has none."""
    found = NUMBER.match(text)
    return f"{float(found[0].replace(',', '')):.12g}" if found else ""


def numeric(rows: tuple[Mapping[str, str], ...], title: str) -> bool:
    """Whether a column holds numbers, some at least, and else nothing."""
    texts = [row[title] for row in rows if row[title] not in _MISSING]
    return bool(texts) and all(NUMBER.match(text) or text.startswith("[") for text in texts)


def long(rows: tuple[Mapping[str, str], ...], title: str) -> bool:
    """Whether the cells of a column are to be broken into lines."""
    return max(len(row[title]) for row in rows) > MOST_IN_LINE


def captioned(section: Section, drawings: Mapping[str, Any]) -> list[Part]:
    """The parts of a section without figures that were not drawn."""
    return [part for part in section.parts if kind(part) != "Picture" or getattr(part, "name", "") in drawings]

"""A report in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.document import Bullets, Chart, Document, Part, Picture, Table, Text


def markdown(document: Document) -> str:
    """The whole report; pictures lie beside it as PNG files."""
    return "\n\n".join(part for part in _blocks(document) if part) + "\n"


def _blocks(document: Document) -> Iterator[str]:
    yield f"# {document.title}"
    yield document.question
    for section in document.sections:
        yield f"## {section.title}"
        yield from map(_block, section.parts)


def _block(part: Part) -> str:
    match part:
        case Text(text):
            return text
        case Bullets(lines):
            return "\n".join(f"* {line}" for line in lines)
        case Table():
            return markdown_table(part)
        case Picture(name, caption):
            return f"![{caption}]({name}.png)"
        case Chart():
            return ""


def markdown_table(table: Table) -> str:
    """A Markdown table; nothing where it has no rows."""
    if not table.rows:
        return ""
    lines = [list(table.rows[0]), ["---"] * len(table.rows[0]), *[list(row.values()) for row in table.rows]]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)

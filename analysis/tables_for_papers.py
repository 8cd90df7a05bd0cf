"""Tables of a report for a paper: LaTeX with booktabs, its cells those of the report; CSV with the numbers themselves."""

from __future__ import annotations

import re

from analysis.document import Document, Table, filled
from analysis.notation import MISSING
from analysis.old_design.results import OldResults
from analysis.published import beside
from analysis.results import Results

FILES = {"arms": "arms", "decided": "configurations", "published": "published"}
"""Tables of the report that are written for papers, and what their files are called."""
_SPECIAL = {character: rf"\{character}" for character in "{}&%$#_"}
_SPECIAL |= {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # \textquotedbl asks for an encoding that a plain article has not
    '"': "''",
}
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[+-]?)(?P<digits>\d+(?:,\d{3})*(?:\.\d+)?)(?:e(?P<power>[+-]\d+))?(?![\w.]*\w)"
)
_NUMERIC = re.compile(r"[+-]?\d|\[")


def latex_tables(document: Document) -> dict[str, str]:
    """The tables for papers that a report has: file name -> LaTeX, to be put in by \\input; it needs the package booktabs."""
    found = {table.name: table for table in document.tables() if table.name in FILES and table.rows}
    return {f"{FILES[name]}.tex": latex(table, document.title) for name, table in found.items()}


def csv_tables(results: Results | OldResults) -> dict[str, str]:
    """The same tables as CSV, with all columns, errors and differences as fractions: file name -> text."""
    frames = {"arms": results.arms, "configurations": results.configurations, "published": beside(results)}
    return {
        f"{name}.csv": frame.to_csv(index=False, lineterminator="\n") for name, frame in frames.items() if len(frame)
    }


def latex(table: Table, run: str) -> str:
    """The tabular of a table: columns of numbers to the right. run: named in its first line, a comment."""
    table = filled(table.name, table.rows)
    kept = list(table.rows[0])
    columns = "".join("r" if _is_numeric(table, title) else "l" for title in kept)
    lines = [" & ".join(map(escaped, kept)), *(" & ".join(cell(row[title]) for title in kept) for row in table.rows)]
    head, *body = [rf"{line} \\" for line in lines]
    comment = re.sub(r"\s+", " ", run)
    return "\n".join(
        [
            rf"% {comment}: {table.name.replace('_', ' ')}; \usepackage{{booktabs}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def cell(text: str) -> str:
    """A cell: numbers with their minus, power of ten and thousands as mathematics has them, all else escaped."""
    if text == MISSING:
        return "--"
    parts, end = [], 0
    for found in _NUMBER.finditer(text):
        parts += [escaped(text[end : found.start()]), _number(found)]
        end = found.end()
    return "".join([*parts, escaped(text[end:])])


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_SPECIAL.get(character, character) for character in text).replace("+-", r"$\pm$")


def _number(found: re.Match[str]) -> str:
    digits = found["digits"].replace(",", "{,}")
    power = rf" \times 10^{{{int(found['power'])}}}" if found["power"] else ""
    return f"${found['sign']}{digits}{power}$" if found["sign"] or power or "{" in digits else digits


def _is_numeric(table: Table, title: str) -> bool:
    texts = [row[title] for row in table.rows if row[title] not in ("", MISSING)]
    return bool(texts) and all(_NUMERIC.match(text) for text in texts)

"""The page of the papers' rows as they were run: what was published, what came out, and what is to be made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import analysis
from analysis.notation import counted, significant
from analysis.published import beside, effect_text, level_text, published, stated
from analysis.results import Results
from analysis.summary import summary
from making.cards import ROOT
from making.experiments import repeating
from making.markdown import code, escaped, table
from making.remarks import REMARKS
from tune_lb.space.loading import Declared
from tune_lb.space.papers import PAPERS, ROWS, SCALES, SCRIPTS

RUNS = ROOT / "docs" / "reproduction"
PAPER = SCALES[1]
FIRST_SENTENCES = 4
"""Sentences of a run's answer that stand here; the report has all."""

RULE = """
A *sign* is that of the difference from the arm beside which a number was published: it agrees or differs where the 95 % interval of
ours, over blocks and paired, leaves 0 out; else it is not told. A row's verdict sums up its signs. No level is compared where
data, network, epochs or seeds are not as published, which is so in every row here: *what differs* stands with each run.
""".strip().replace("\n", " ")


def runs() -> dict[str, Results]:
    """Return the committed runs that repeat rows of the papers, by name."""
    found = {}
    for path in sorted(RUNS.iterdir()):
        results = analysis.load(path)
        if isinstance(results, Results) and results.asked.rows:
            found[path.name] = results
    return found


def reproduction_page() -> str:
    """Return the page."""
    done = runs()
    spaces = repeating()
    tried = {row for results in done.values() for row in results.asked.rows}
    members = sum(len(results.members) for results in done.values())
    parts = [
        "<!-- Made from docs/reproduction/ by `python docs/reproduction.py`. Run that again where a run was added. -->",
        "# The papers, run again",
        f"{len(tried)} of the {len(ROWS)} tables, figures and claims (*rows*) of the five papers were run, "
        f"{counted(len(done), 'run')} with {counted(members, 'member')}, on CPUs{_scales(done)}; {len(SCRIPTS)} are tests. Every "
        "number and "
        "figure on this page is of a run that is kept under [reproduction/](reproduction/), and comes from there by "
        "`python docs/reproduction.py`. Each experiment is a space that was committed before its run; "
        "[experiments](experiments.md) has what is assumed and what it costs.",
        RULE,
        "## Every row",
        table(("row", "what it shows", "run", "members", "published and found"), _rows(done, spaces)),
        *(part for paper in PAPERS for part in _paper(paper, done, spaces)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _scales(done: Mapping[str, Results]) -> str:
    whole = [f"[{name}](#{name})" for name in done if name.endswith(f"_{PAPER}")]
    return (
        f": {' and '.join(whole)} at the size of the paper, the others at the small scale"
        if whole
        else ", at the small scale"
    )


def _rows(done: Mapping[str, Results], spaces: Mapping[str, Declared]) -> list[list[str]]:
    return [[row, escaped(shows, cell=True), *_of_row(row, done, spaces)] for row, shows in ROWS.items()]


def _of_row(row: str, done: Mapping[str, Results], spaces: Mapping[str, Declared]) -> list[str]:
    """Return of a row the runs, their members, and the verdict."""
    if row in SCRIPTS:
        return [f"[a test](../{SCRIPTS[row]})", "", "holds"]
    own = {name: results for name, results in done.items() if row in results.asked.rows}
    if not own:
        return [
            "not run",
            "",
            "; ".join(f"{code(name)}: {said.cost}" for name, said in spaces.items() if row in said.rows),
        ]
    return [
        "<br>".join(f"[{name}](#{name})" for name in own),
        "<br>".join(f"{len(results.members):,}" for results in own.values()),
        "<br>".join(_verdict(row, results) for results in own.values()),
    ]


def _verdict(row: str, results: Results) -> str:
    """Return what the signs of a row's numbers come to."""
    if not (published()["row"] == row).any():
        return "published without numbers"
    if said := stated(row):
        return f"published: {said}"
    found = beside(results)
    found = found[found["row"] == row] if len(found) else found
    if not len(found):
        return "published of other arms or networks"
    signs = found["sign"].value_counts()
    told = [f"{signs[word]} {text}" for word, text in SIGNS.items() if word in signs.index]
    return f"signs: {', '.join(told)}" if told else "levels alone: not comparable"


SIGNS = {"agrees": "agree", "differs": "differ", "not told": "not told"}


def _paper(paper: str, done: Mapping[str, Results], spaces: Mapping[str, Declared]) -> Iterable[str]:
    own = {name: results for name, results in done.items() if results.asked.rows[0].startswith(f"{paper}:")}
    missing = [name for name, said in spaces.items() if said.rows[0].startswith(f"{paper}:") and name not in done]
    yield f"## {escaped(PAPERS[paper])}"
    for name, results in own.items():
        yield from _run(name, results)
    if missing:
        costs = "; ".join(f"{code(name)} ({spaces[name].cost})" for name in missing)
        yield f"Not run at any size: {costs}."


def _run(name: str, results: Results) -> Iterable[str]:
    asked = results.asked
    yield f"### {name}"
    yield (
        f"{escaped(asked.question)}{'' if asked.question.endswith('?') else '.'} {counted(len(results.members), 'member')}; "
        f"[report](reproduction/{name}/report/report.md)."
    )
    yield escaped(REMARKS[name])
    # what a published protocol leaves out by design says nothing of the run
    said = [text for text in summary(results)["sentences"] if not text.startswith("The space has no ")][
        :FIRST_SENTENCES
    ]
    yield "\n".join(f"* {escaped(sentence)}" for sentence in said)
    numbers = beside(results)
    if len(numbers):
        yield table(
            ("row", "case", "quantity", "published", "here", "n", "difference published", "difference here", "sign"),
            [_number(row) for row in numbers.to_dict("records")],
        )
    yield from _figures(RUNS / name / "report")
    if asked.differs:
        yield f"*What differs*: {escaped('; '.join(asked.differs))}."


def _number(row: Mapping[Any, Any]) -> list[str]:
    star = "" if row["seen"] else r" \*"
    return [
        str(row["row"]).partition(": ")[2],
        escaped(f"{row['case']} ({row['network']})", cell=True),
        escaped(str(row["quantity"]), cell=True),
        level_text(row["value"], row["spread"]) + star,
        level_text(row["here"], row["here_std"]),
        str(row["here_n"] or ""),
        significant(row["published_effect"]),
        effect_text(row, 2),
        str(row["sign"]),
    ]


def _figures(folder: Path) -> Sequence[str]:
    """Return the figures of a report that its paper's figure is to be seen beside."""
    shown = sorted(path for path in folder.glob("*.png") if path.stem not in LEFT_OUT)
    return [f"![{path.stem}](reproduction/{folder.parent.name}/report/{path.name})" for path in shown]


LEFT_OUT = ("test_error", "history", "search", "sharpness_and_gap", "pareto", "error_cost")
"""Figures of every report, which no paper has."""

"""The page of the papers' experiments: each with its rows, what it takes, and what differs from what was published."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from making.cards import ROOT
from making.markdown import code, escaped, page, table
from tune_lb.space.loading import Declared, declared, space_names
from tune_lb.space.papers import PAPERS, ROWS, SCALES, SCRIPTS

USE = """
    tune-lb spaces                                   # all, by paper, with rows and costs, and which data are missing
    tune-lb spaces --paper keskar                    # of one paper; --names: the names alone, of those whose data are here
    tune-lb spaces --row "keskar: figure 4"          # what repeats one row
    tune-lb search keskar_batch_size_c1 --dry-run    # the plan and its cost on this machine; nothing is trained
    tune-lb search keskar_batch_size_c1 --smoke      # two updates of every arm through the whole path
    tune-lb search keskar_batch_size_c1              # at a size for two cores
    tune-lb search keskar_batch_size_c1 --scale paper
    python -m analysis keskar_batch_size_c1 --list-figures    # the papers' figures that its run has data for
    python -m analysis keskar_batch_size_c1 --figure batch_size --y test_accuracy keskar.full_1e-3
""".strip("\n")


def experiments_page() -> str:
    """Return the page."""
    found = repeating()
    return page(
        "search_spaces/ and tune_lb/space/papers.py",
        "# The papers' experiments",
        f"The {len(ROWS)} tables, figures and claims of {len(PAPERS)} papers on large batches, their *rows*, can be tried again: "
        f"{len(found)} search spaces in [search_spaces/](../search_spaces/) repeat {len(ROWS) - len(SCRIPTS)} of them, scripts or "
        "tests the others. A space of a paper is an `Experiment`: one module, two scales.",
        f"* `--scale {SCALES[1]}` is as published: data, network, batches, epochs and seeds; where the paper is silent the "
        "docstring says what is assumed, and what cannot be as published stands below.",
        f"* `--scale {SCALES[0]}`, the default, is a reduction that two cores can run. Data, epochs, seeds or the network are "
        "less, so its numbers cannot be compared with published ones; what is reduced stands below, in the report and in "
        "`space.json`. "
        "Batches are reduced in proportion to the data where the network can still be trained with them.",
        USE,
        "Most of them search nothing: every field is as published, blocks are seeds (`fresh_splits=False`), and neither a placebo "
        "nor copied and scaled arms run beside. Those with ranges (`over(...)`) go through search, decide and confirm as any space "
        "does. Everything that a row's figure needs is stored: errors by epoch, walks and what is measured while members train "
        "in `history/`, sharpness in `results/`, weights for `tune-lb landscape` in `weights/`.",
        "Costs at the small scale are for two cores. No space is changed for what its run says: it is committed before.",
        *(part for paper in PAPERS for part in _paper(paper, found)),
        "## Rows that are no search",
        table(
            ("row", "what it shows", "where"),
            [[row, escaped(ROWS[row], cell=True), f"[{path}](../{path})"] for row, path in SCRIPTS.items()],
        ),
    )


def repeating() -> dict[str, Declared]:
    """Return what the spaces that repeat rows say of themselves, by name."""
    return {name: said for name in space_names() if (said := declared(name)).rows}


def _paper(paper: str, found: dict[str, Declared]) -> list[str]:
    own = {name: said for name, said in found.items() if said.rows[0].startswith(f"{paper}:")}
    cells = []
    for name, said in own.items():
        rows = [f"{row.partition(': ')[2]}: {ROWS[row]}" for row in said.rows]
        cells.append(
            [
                f"[{name}](../search_spaces/{name}.py)",
                "<br>".join(escaped(row, cell=True) for row in rows),
                escaped(said.cost or "", cell=True),
                escaped(said.paper_cost or "", cell=True),
            ]
        )
    differing = [
        line
        for name, said in own.items()
        for scale, lines in zip(SCALES, (said.differs, said.paper_differs), strict=True)
        for line in _differing(name, scale, lines)
    ]
    return [
        f"## {escaped(PAPERS[paper])}",
        table(("space", "rows", "small", "paper"), cells),
        "What differs from what was published:",
        "\n".join(differing),
        *(_published(name) for name in own),
    ]


def _differing(name: str, scale: str, lines: Sequence[str]) -> list[str]:
    return [f"* {code(name)}, {scale}: {escaped('; '.join(lines))}"] if lines else []


def _published(name: str) -> str:
    """Return what the space's own docstring says: what was published, and what is assumed."""
    text = ast.get_docstring(ast.parse((ROOT / "search_spaces" / f"{name}.py").read_text())) or ""
    return f"**{name}.** {escaped(' '.join(text.split()))}"

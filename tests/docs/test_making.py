"""The cards and the table of columns are those of the code, and Markdown shows what docstrings say."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.docs.blocks import CARDS, ROOT

# What docs/make.py makes


@pytest.fixture(scope="module")
def make() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "docs"))
    yield importlib.import_module("make")
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def made(make) -> dict[str, str]:
    return make.generated()


def test_the_cards_and_the_columns_are_those_of_the_code(make, made):
    assert make.out_of_date(made) == [], "run python docs/make.py"
    assert len(made) == len(CARDS) + 2


def test_what_is_out_of_date_is_named_and_made_again(make, made, tmp_path):
    assert make.out_of_date(made, tmp_path) == sorted(made)
    make.write(made, tmp_path)
    (tmp_path / "docs" / "columns.md").write_text("another")
    (tmp_path / "docs" / "remedies" / "sam.md").unlink()
    (tmp_path / "docs" / "metrics" / "gone.md").write_text("a metric that is no more")
    wrong = ["docs/columns.md", "docs/metrics/gone.md", "docs/remedies/sam.md"]
    assert make.out_of_date(made, tmp_path) == wrong
    assert make.write(made, tmp_path) == wrong
    assert make.out_of_date(made, tmp_path) == []


def test_markdown_eats_nothing(make):
    markdown = importlib.import_module("making.markdown")
    reader = importlib.import_module("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])

    def shown(text: str, kind: str) -> str:
        (inline,) = (part for part in reader.parse(text) if part.type == "inline" and part.content.startswith(kind))
        return "".join(" " if part.type == "softbreak" else part.content for part in inline.children)

    for text in (
        "e = rho g(w) / |g(w)|_2 and |T^-1 e|_p <= rho, T_i = |w_i| + eta",
        "a * b * c, *x* and _x_, <gradient, v> >= 0, s <- s - delta, a~~b~~c, \\n, [a](b), $x$, &lt;",
    ):
        assert shown(f"x {markdown.escaped(text)}", "x") == f"x {text}"
        assert shown(f"| h |\n| --- |\n| x {markdown.escaped(text, cell=True)} |", "x") == f"x {text}"
    assert markdown.escaped("- no list\n2. no number") == "\\- no list\n2\\. no number"


def test_docstrings_are_cut_where_a_label_or_a_field_begins(make):
    markdown = importlib.import_module("making.markdown")
    text = """Do it.

    f = m w,  m the weight.
    m falls.

    Words of it. Source: A and B, 2020,
    eq. 1.
    In training only.
    Cost: none. width: of it, > 0.
    depth, height: of them.
    """
    found = markdown.pieces("\n".join(line.strip() for line in text.splitlines()), ["width", "depth", "height"])
    assert [(piece.label, piece.text.split()[0], piece.code) for piece in found] == [
        ("", "f", True),
        ("", "Words", False),
        ("Source", "A", False),
        ("", "In", False),
        ("Cost", "none.", False),
        ("width", "of", False),
        ("depth, height", "of", False),
    ]


def test_every_card_says_what_a_user_must_know(made):
    for path, text in made.items():
        assert text.startswith("<!-- Made from "), path
        if path.startswith("docs/remedies/") and "README" not in path:
            assert {label for label in ("Source", "Cost", "Neutral") if f"**{label}**: " not in text} == set(), path
            assert "```python" in text, path

"""A figure that is put into a page: its dots say what they are, its texts are the page's, and nothing in it is of somebody else."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from analysis.canvas import NOTE, TITLE, new_figure, png, said
from analysis.svg import svg, tip, tips

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script> & \"quoted\" '</svg>'"


@pytest.fixture(scope="module")
def drawn() -> tuple[str, str, str]:
    figure = new_figure(
        5, 3, "A finding of some length that goes on and on until it is broken into two lines", "How to read it"
    )
    axes = figure.add_subplot()
    axes.scatter([1, 2, 3], [0.0035, 0.0036, 0.0041], color="#0072B2", urls=tips([HOSTILE, "second\nline", '"quoted"']))
    axes.plot([1, 2], [0.0036, 0.0037], color="#D55E00", url=tip("a line", "of two"))
    axes.set_xlabel(HOSTILE)
    png(figure)
    return svg(figure, "one"), said(figure, TITLE), said(figure, NOTE)


def test_dots_have_tips_and_nothing_is_a_link(drawn: tuple[str, str, str]) -> None:
    root = ElementTree.fromstring(drawn[0])
    dots = [element for element in root.iter(f"{SVG}g") if element.get("class") == "dot"]
    assert [dot.findtext(f"{SVG}title") for dot in dots] == [HOSTILE, "second\nline", '"quoted"', "a line\nof two"]
    assert not list(root.iter(f"{SVG}a"))
    assert not list(root.iter(f"{SVG}script"))
    assert HOSTILE in [element.text for element in root.iter(f"{SVG}text")]


def test_title_and_note_are_the_pages(drawn: tuple[str, str, str]) -> None:
    text, title, note = drawn
    assert title == "A finding of some length that goes on and on until it is broken into two lines"
    assert note == "How to read it"
    assert "A finding" not in text
    assert note not in text
    root = ElementTree.fromstring(text)
    _, top, width, height = map(float, str(root.get("viewBox")).split())
    assert (width, top > 20, height < 3 * 72 - top) == (5 * 72, True, True)


def test_numbers_on_the_axes_stay_and_colours_follow_the_page(drawn: tuple[str, str, str]) -> None:
    text = drawn[0]
    ticks = [element.text for element in ElementTree.fromstring(text).iter(f"{SVG}text")]
    assert any(str(text).startswith("0.0036") for text in ticks)
    assert "fill: var(--c0072b2, #0072b2)" in text
    assert "stroke: var(--cd55e00, #d55e00)" in text
    assert set(re.findall(r"https?://[^\"]*", text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}

"""The page of a report: what is in it, that no name gets out of its place, and how a real browser shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from setuptools import find_packages

from analysis.__main__ import html
from analysis.caveats import Caveat
from analysis.chart_of_configurations import configurations_chart
from analysis.document import Document, Section, Text, bullets, section, table
from analysis.drawing import draw_all
from analysis.figures import FIGURES
from analysis.page import Looks, page
from analysis.page.rendering import cell, minus, value
from analysis.report import report
from analysis.results import Results
from analysis.summary import summary
from tests.analysis.browser import Browser, browser, chromium
from tests.analysis.fabrication import ARMS, Arm, Procedure, fabricate

ROOT = Path(__file__).parents[2]
HOSTILE = '<script>document.title="taken"</script>'
QUOTES = """a"b'c&d</title><img src=x onerror=alert(1)>"""


@pytest.fixture(scope="module")
def results() -> Results:
    """A run with the names that nobody should give."""
    arms = {HOSTILE if name == "sam" else name: arm for name, arm in ARMS.items()} | {QUOTES: Arm(0.045)}
    frames = fabricate(arms, Procedure(num_samples=8, candidates=3, decide_blocks=2, confirm_blocks=4))
    return Results(replace(frames, space={**frames.space, "name": QUOTES, "question": HOSTILE}, problems=(HOSTILE,)))


@pytest.fixture(scope="module")
def document(results: Results) -> Document:
    return report(results, summary(results), FIGURES)


@pytest.fixture(scope="module")
def written(results: Results, document: Document) -> str:
    return html(results, summary(results), document, draw_all(results))


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.ids: list[str] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.ids += [str(value) for name, value in attrs if name == "id"]
        if tag in ("td", "th"):
            self._in_cell = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells[-1] += data


def test_the_page_has_what_the_markdown_has(results: Results, document: Document, written: str) -> None:
    found = Elements(written)
    for part in document.sections:
        assert part.anchor in found.ids
    for rows in document.tables():
        assert f"table-{rows.name}" in found.ids
        for row in rows.rows:
            for text in row.values():
                assert text in ("", "-") or minus(text) in found.cells or text in found.cells
    assert [attributes for tag, attributes in found.found if tag == "svg" and "viewbox" in attributes]
    assert all(re.sub(r"\s+", " ", minus(line))[:40] in text_of(written) for line in summary(results)["sentences"])


def text_of(written: str) -> str:
    class Texts(HTMLParser):
        said = ""

        def handle_data(self, data: str) -> None:
            self.said += data

    found = Texts()
    found.feed(written)
    return found.said


def test_names_are_escaped_and_the_page_asks_for_nothing(written: str) -> None:
    elements = Elements(written).found
    assert [attributes.get("type") for tag, attributes in elements if tag == "script"] == ["application/json", None]
    assert not [tag for tag, _ in elements if tag in ("img", "iframe", "object", "embed", "base", "form")]
    for tag, attributes in elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action"):
            assert str(attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    assert not re.findall(r"url\((?!#)", written)
    assert set(re.findall(r"https?://[^\"'\s]*", written)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "\u2028" not in written
    assert len(written) < 2_000_000


def test_ids_are_there_once(written: str) -> None:
    ids = Elements(written).ids
    assert len(ids) == len(set(ids))


def test_caveats_stand_apart_by_their_kind() -> None:
    lines = bullets(["A finding.", Caveat("too few blocks", "Fewer than 8 confirm blocks so far: a.")])
    text = page(Document("run", "?", (Section("Answer", (lines,)),)), Looks())
    assert "<li>A finding.</li>" in text
    assert "<dt>too few blocks</dt><dd>Fewer than 8 confirm blocks so far: a.</dd>" in text


def test_marks_are_marks_where_they_are_said_to_be() -> None:
    parts = [Text("*n* is `count`, a < b", marked=True), Text("arm_*x* and `y`"), table("t", [{"a": "1"}])]
    text = page(Document("run", "?", tuple(section("S", parts))), Looks())
    assert "<p><em>n</em> is <code>count</code>, a &lt; b</p>" in text
    assert "<p>arm_*x* and `y`</p>" in text


@pytest.mark.parametrize(
    ("text", "shown", "sorted_by"),
    [
        ("-1.31 [-1.90, 0.67]", '\u22121.31<span class="spread"> [\u22121.90, 0.67]</span>', "-1.31"),
        ("4.35 +- 0.70", '4.35<span class="spread"> \u00b1 0.70</span>', "4.35"),
        ("4.6e-04", "4.6e-04", "0.00046"),
        ("31,200", "31,200", "31200"),
        ("-225 % [-336, -160]", '\u2212225 %<span class="spread"> [\u2212336, \u2212160]</span>', "-225"),
        ("-", '<span class="missing">\u2013</span>', ""),
        ("1x_<b>", "1x_&lt;b&gt;", ""),
        ("[-0.1, 0.2]", "[\u22120.1, 0.2]", ""),
    ],
)
def test_cells(text: str, shown: str, sorted_by: str) -> None:
    assert str(cell(text)) == shown
    assert value(text) == sorted_by


def test_a_fitted_slice_finds_the_bowl_that_is_there() -> None:
    found = Results(fabricate(ARMS, Procedure(num_samples=16)))
    (chart,) = configurations_chart(found, found.configurations)
    arm = next(arm for arm in json.loads(json.dumps(chart.data))["arms"] if arm["arm"] == "large_batch")
    assert [axis["name"] for axis in arm["axes"]] == ["eta_over_b"]
    (fit,) = arm["fits"]
    places = [row["values"][0] for row in arm["rows"]]
    losses = [row["loss"] for row in arm["rows"]]
    axis = arm["axes"][0]
    best = axis["low"] * (axis["high"] / axis["low"]) ** (int(np.argmin(fit)) / (len(fit) - 1))
    assert abs(np.log(best / places[int(np.argmin(losses))])) < 0.3 * np.log(axis["high"] / axis["low"])
    assert sum(row["selected"] for row in arm["rows"]) == 1


def test_templates_style_and_script_are_in_the_package() -> None:
    """What setuptools puts into a wheel: the packages it finds and the patterns of package-data."""
    settings = (ROOT / "pyproject.toml").read_text()
    assert "analysis.page" in find_packages(str(ROOT), include=["analysis*"])
    patterns = re.findall(
        r'"(\*\.\w+)"', next(line for line in settings.splitlines() if line.startswith('"analysis.page"'))
    )
    there = [path for path in (ROOT / "analysis" / "page").iterdir() if path.is_file() and path.suffix != ".py"]
    assert there
    assert [path.name for path in there if not any(path.match(pattern) for pattern in patterns)] == []


@pytest.fixture(scope="module")
def opened(written: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, str]]:
    program = chromium()
    if program is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium, or TUNE_LB_CHROMIUM=/path/to/it)")
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_text(written, encoding="utf-8")
    with browser(program, folder / "profile") as found:
        yield found, path.as_uri()


FIRST_CELLS = (
    "[...document.querySelectorAll('#table-arms tbody tr:not([hidden])')].map(row => row.cells[0].textContent)"
)
SORTED = """(() => {
  const table = document.getElementById('table-arms');
  const titles = [...table.querySelectorAll('thead th')];
  const column = titles.findIndex(title => title.textContent.startsWith('test error'));
  const button = titles[column].querySelector('button');
  const seen = [];
  for (const _ of [1, 2]) {
    button.click();
    const values = [...table.tBodies[0].rows].map(row => Number(row.cells[column].dataset.value));
    seen.push([titles[column].getAttribute('aria-sort'), values]);
  }
  return seen;
})()"""


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_a_browser_shows_it(opened: tuple[Browser, str], results: Results, width: int, scheme: str) -> None:
    browser, address = opened
    browser.open(address, width, prefers_color_scheme=scheme)
    assert browser.complaints() == []
    assert browser.requests() == [address]
    assert browser.value("document.title") == QUOTES
    assert browser.value("document.documentElement.scrollWidth") <= width
    shown = "getComputedStyle(document.body).backgroundColor"
    assert (sum(map(int, re.findall(r"\d+", browser.value(shown))[:3])) < 200) == (scheme == "dark")

    assert sorted(browser.value(FIRST_CELLS)) == sorted(results.arms["arm"])
    (up, rising), (down, falling) = browser.value(SORTED)
    assert (up, down) == ("ascending", "descending")
    assert rising == sorted(rising) == falling[::-1]
    assert rising == pytest.approx(sorted(100 * results.arms["test_error"]), abs=0.006)

    figures = "[...document.querySelectorAll('figure svg')].map(svg => svg.getBoundingClientRect().height)"
    heights = browser.value(figures)
    assert len(heights) >= 4
    assert min(heights) > 60
    assert browser.complaints() == []


def test_arms_are_filtered(opened: tuple[Browser, str]) -> None:
    browser, address = opened
    browser.open(address, 1400)
    field = "document.querySelector('[data-filter]')"
    typed = f"{field}.value = 'LARGE'; {field}.dispatchEvent(new Event('input'))"
    browser.value(typed)
    assert set(browser.value(FIRST_CELLS)) == {"large_batch", "large_batch_copied"}


def test_dots_say_what_they_are_by_pointer_and_by_key(opened: tuple[Browser, str]) -> None:
    browser, address = opened
    browser.open(address, 1400)
    place = browser.value("""(async () => {
      document.documentElement.style.scrollBehavior = 'auto';
      const dot = document.querySelector('#figure-test_error .dot');
      dot.scrollIntoView({block: 'center'});
      // a tip goes when the page is scrolled
      for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
      const box = dot.getBoundingClientRect();
      return [box.left + box.width / 2, box.top + box.height / 2];
    })()""")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    said = browser.value("document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent")
    assert re.search(r"seed \d+\n(.*\n)*test error \d", said)
    browser.value("document.querySelector('#figure-test_error .scroll').focus()")
    for key in ("ArrowRight", "ArrowRight"):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    after = browser.value("document.getElementById('tip').textContent")
    assert "test error" in after
    assert after != said


def test_a_phone_turns_the_axes_and_no_name_runs_as_script(opened: tuple[Browser, str]) -> None:
    browser, address = opened
    browser.open(address, 390)
    choice = "document.querySelector('[data-chart] select')"
    assert HOSTILE in browser.value(f"[...{choice}.options].map(option => option.textContent)")
    browser.value(f"{choice}.value = [...{choice}.options].findIndex(o => o.textContent.includes('script')); 1")
    browser.value(f"{choice}.dispatchEvent(new Event('change')); 1")
    assert browser.value("document.querySelectorAll('[data-chart] .path').length") == 8
    assert browser.value("document.documentElement.scrollWidth") <= 390
    assert browser.value("document.title") == QUOTES
    assert browser.complaints() == []

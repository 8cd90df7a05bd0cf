"""A figure as SVG that is put into a page: its colours follow the page's, and its dots have tips."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from analysis.canvas import INK, NOTE, TITLE

TIP = "tip:"
"""What an artist's url begins with where it is a tip: matplotlib writes urls into SVG, dot by dot, and nowhere else."""
UNSEEN = 0.001
"""An opacity that no pixel shows; what has none at all is not drawn, and nobody can point at it."""
Values = Sequence[float] | pd.Series
_POINTS = 72
# matplotlib takes the quotes that the text has not
_TIP = re.compile(rf"<a xlink:href=(?:\"{TIP}([^\"]*)\"|'{TIP}([^']*)')[^>]*>")
_FAMILY = re.compile(r"font-family: [^;\"]*")
_COLOUR = re.compile(r"(fill|stroke): (#[0-9a-f]{6})")
_NUMBERED = re.compile(r' id="[A-Za-z0-9.]+_\d+"')
_PLACES = re.compile(r' (?:d|x|y|transform)="[^"]*"')
_LONG = re.compile(r"\d+\.\d{3,}")
_HEAD = re.compile(r"^.*?<svg ", re.DOTALL)
_ASIDE = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>", re.DOTALL)
_SIZE = re.compile(r'width="[^"]*" height="[^"]*" viewBox="[^"]*"')


def tip(*lines: str) -> str:
    """The url of an artist that shows these lines: `axes.plot(x, y, url=tip("sam", "4.10 %"))`."""
    return TIP + "\n".join(lines)


def tips(texts: Iterable[str]) -> list[str]:
    """The urls of the dots of a collection, a text each: `axes.scatter(x, y, urls=tips(texts))`."""
    return [tip(text) for text in texts]


def spots(axes: Axes, x: Values, y: Values, texts: Iterable[str], colour: str = INK) -> None:
    """Dots with tips that are not seen until they are pointed at: over the means of a line, a bar or a cell."""
    axes.scatter(x, y, s=34, color=colour, alpha=UNSEEN, lw=0, urls=tips(texts), zorder=9)


def svg(figure: Figure, name: str) -> str:
    """The element <svg> of a figure that was laid out before (as by `png`), without its title and note, which the page sets.

    Its width in points is the property --width. Text stays text, colours become var(--c<hex>, #<hex>), which the page may define,
    and urls that are tips become `<g class="dot"><title>`. name: makes the ids of one figure differ from those of another.
    """
    width, height = figure.get_size_inches() * _POINTS
    top, bottom = 0.0, height
    scale = _POINTS / figure.dpi
    # not the one that drew the PNG, which had another resolution
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    for text in figure.texts:
        box = text.get_window_extent(renderer)
        if text.get_gid() == TITLE and text.get_text():
            top = max(top, height - scale * box.y0 - 4)
        elif text.get_gid() == NOTE and text.get_text():
            bottom = min(bottom, height - scale * box.y1 + 4)
        else:
            continue
        text.set_visible(False)
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set(facecolor="none", edgecolor="none")
    figure.set_layout_engine("none")
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        # what savefig does besides is to draw everything once more, for a layout that is there
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return _for_page(buffer.getvalue(), f"0 {top:.0f} {width:.0f} {bottom - top:.0f}", width)


def with_titles(text: str) -> str:
    """SVG as matplotlib wrote it, links that are tips as `<g class="dot"><title>`, which every browser shows."""
    return _TIP.sub(lambda found: f'<g class="dot"><title>{found[1] or found[2]}</title>', text).replace("</a>", "</g>")


def _for_page(text: str, box: str, width: float) -> str:
    text = _ASIDE.sub("", _HEAD.sub("<svg ", text, count=1))
    text = _SIZE.sub(f'viewBox="{box}" style="--width: {width:.0f}"', text, count=1)
    text = _FAMILY.sub("font-family: inherit", _NUMBERED.sub("", text))
    text = _COLOUR.sub(lambda found: f"{found[1]}: var(--c{found[2][1:]}, {found[2]})", text)
    text = with_titles(text)
    text = _PLACES.sub(lambda found: _short(found[0]), text)
    return re.sub(r">\s*\n\s*<", ">\n<", text)


def _short(places: str) -> str:
    """Paths and places to a hundredth of a point."""
    return " " + " ".join(_LONG.sub(lambda found: f"{float(found[0]):.2f}", places).split())

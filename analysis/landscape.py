"""python -m analysis.landscape NAME LANDSCAPE: the figure of a landscape, beside its table in the run's folder."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.canvas import COLOURS, DASHES, GREY, STYLE, log_scale, new_figure, png
from analysis.loading import run_store
from tune_lb.errors import RequestError
from tune_lb.results.storage import StorageError
from tune_lb.results.tables import decode_table

COLOUR = {"train": COLOURS[0], "test": "#D55E00"}
TITLES = {
    "linear": "straight path, (1 - a) A + a B",
    "curved": "curved path, cos(a pi/2) A + sin(a pi/2) B",
    "slice": "along one random direction, normalised by filter",
}
STATISTICS = {
    "recalibrate": "batch-norm statistics recomputed at every point",
    "interpolate": "running batch-norm statistics, mixed like the weights on a path",
    "batch": "batch-norm statistics of each batch",
}


def main(arguments: list[str] | None = None) -> int:
    """Draw one landscape, write the PNG and print where it is; 2 where there is no such landscape."""
    parser = argparse.ArgumentParser(prog="python -m analysis.landscape", description="The figure of a landscape.")
    parser.add_argument("run", help="name of a run in the storage, or the folder of a run (path or URI)")
    parser.add_argument("landscape", help="name of the table in the run's folder landscapes/, without .parquet")
    parser.add_argument("--storage", default="runs", help="where runs are (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        folder = run_store(given.run, given.storage).child("landscapes")
        table = decode_table(folder.read(f"{given.landscape}.parquet")).to_pandas()
        folder.write(f"{given.landscape}.png", draw(table))
    except (RequestError, StorageError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{folder.location}/{given.landscape}.png")
    return 0


def draw(table: pd.DataFrame) -> bytes:
    """Return the figure of a landscape's table as the bytes of a PNG: paths and slices as curves, a plane as a map."""
    with mpl.rc_context(STYLE):
        return png(_plane(table) if (table["kind"] == "plane").any() else _curves(table))


def _curves(table: pd.DataFrame) -> Figure:
    kinds = list(dict.fromkeys(table["kind"]))
    first = table.iloc[0]
    names = [
        f"{first[f'{end}_arm']} (seed {first[f'{end}_seed']:.0f})" for end in "ab" if pd.notna(first[f"{end}_arm"])
    ]
    title = f"From {names[0]} (A) to {names[1]} (B)" if len(names) == 2 else f"Around {names[0]}"
    note = f"Upper: mean loss. Lower: error. {_sentence(STATISTICS[first['batch_norm']])}."
    if table[["train_loss", "test_loss"]].isna().to_numpy().any():
        note += " Gaps: the loss is not finite."
    figure = new_figure(4.9 * len(kinds) + 1.2, 6.2, title, note)
    axes: Any = figure.subplots(2, len(kinds), sharex=True, sharey="row", squeeze=False)
    for column, kind in enumerate(kinds):
        rows = table[table["kind"] == kind].sort_values("alpha")
        for part, colour in COLOUR.items():
            look: dict[str, Any] = {"color": colour, "lw": 1.8, "label": part, "marker": "o", "ms": 3}
            axes[0, column].plot(rows["alpha"], rows[f"{part}_loss"], **look)
            axes[1, column].plot(rows["alpha"], 100 * rows[f"{part}_error"], **look)
        axes[0, column].set_title(TITLES[kind])
        axes[1, column].set_xlabel(
            "a" if len(names) == 2 else "share of the direction, in units of the filters' lengths"
        )
        for place in axes[:, column]:
            _mark_ends(place, len(names))
    losses = table[["train_loss", "test_loss"]].to_numpy(np.float64)
    if np.nanmin(losses, initial=np.inf) > 0:
        log_scale(axes[0, 0], "y")
    axes[0, 0].set_ylabel("loss, nats (log scale)")
    axes[1, 0].set_ylabel("error, %")
    axes[1, 0].set_ylim(bottom=0)
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _mark_ends(axes: Axes, num_members: int) -> None:
    for place, text in ((0, "A" if num_members == 2 else "member"), (1, "B"))[:num_members]:
        axes.axvline(place, color=GREY, lw=1, ls=DASHES, zorder=0)
        top: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(text, (place, 1), xytext=(3, -11), color=GREY, fontsize=9, **top)


def _plane(table: pd.DataFrame) -> Figure:
    first = table.iloc[0]
    title = f"Around {first['a_arm']} (seed {first['a_seed']:.0f}): two random directions, normalised by filter"
    note = (
        f"Cross: the member. Lines: equal loss. {_sentence(STATISTICS[first['batch_norm']])}. Blank: loss not finite."
    )
    figure = new_figure(10.6, 4.9, title, note)
    axes: Any = figure.subplots(1, 2, sharey=True)
    for place, part in zip(axes, COLOUR, strict=True):
        values = table.pivot(index="beta", columns="alpha", values=f"{part}_loss")
        heights = np.log10(values.to_numpy(np.float64).clip(1e-12))
        shown = place.contourf(values.columns, values.index, heights, levels=18, cmap="viridis")
        # matplotlib dashes lines of negative values: here losses below 1 nat
        lines = place.contour(
            values.columns,
            values.index,
            heights,
            levels=shown.levels[::2],
            colors="white",
            linewidths=0.7,
            linestyles="solid",
        )
        place.clabel(lines, fmt=lambda level: f"{10**level:.2g}", fontsize=8)
        place.plot(0, 0, "+", color="#D55E00", ms=11, mew=2)
        place.set_title(f"{part} loss, nats (log colours)")
        place.set_xlabel("share of the first direction")
        place.set_aspect("equal")
        place.xaxis.set_major_locator(MaxNLocator(5))
        bar = figure.colorbar(shown, ax=place, shrink=0.85)
        bar.ax.yaxis.set_major_formatter(lambda level, _: f"{10**level:.2g}")
    axes[0].set_ylabel("share of the second direction")
    return figure


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


if __name__ == "__main__":
    sys.exit(main())

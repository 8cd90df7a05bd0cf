"""Sections of a report that the shape of its space calls for: batch sizes, the walk, what was watched over training."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.document import Part, Section, Table, Text, section, table
from analysis.notation import MISSING, counted, significant
from analysis.plots.walk_tables import distances_table, epochs_table
from analysis.run import Run
from analysis.sections import pictures

WALK_NOTE = (
    "barriers: updates of the epoch between which the loss rises above both ends, mean over members [fewest, most]. height: "
    "(L(w_t) + L(w_t+1) - 2 min L) / 2, nats, mean over all updates of all members, and its variance."
)


def paper_sections(results: Run, drawn: Iterable[str]) -> list[Section]:
    """The sections, of those that have a figure or a table. drawn: names of the figures that were drawn."""
    there = list(drawn)
    return [
        *section("Over batch sizes", pictures(there, "batch_size", "with_without", "heat_map"), "Batch sizes"),
        *section("Over training", pictures(there, "train_and_test", "curves", "trajectory"), "Training"),
        *section("The walk", _walk(results, there), "Walk"),
        *section("Paths between members", pictures(there, "paths"), "Paths"),
    ]


def _walk(results: Run, drawn: list[str]) -> list[Part | None]:
    epochs, distances = epochs_of(results), distances_of(results)
    return [
        *pictures(drawn, "walk", "cosine"),
        Text(WALK_NOTE) if epochs.rows else None,
        epochs,
        *pictures(drawn, "distance"),
        # a distance by itself is no walk: it stands in every run
        distances if epochs.rows or "distance" in drawn else None,
    ]


def epochs_of(results: Run) -> Table:
    """Barriers and heights by arm and epoch."""
    return table(
        "walk_by_epoch",
        [
            {
                "arm": str(row["arm"]),
                "epoch": str(row["epoch"]),
                "barriers": _range(row["barriers"], row["barriers_low"], row["barriers_high"]),
                "height": significant(row["height"]),
                "variance of the height": significant(row["height_variance"]),
                "updates": str(row["updates"]),
                "n": counted(row["n"], "member"),
            }
            for row in epochs_table(results).to_dict("records")
        ],
    )


def distances_of(results: Run) -> Table:
    """Distance from the start at the end of training, and beside the reference's."""
    return table(
        "distance_from_start",
        [
            {
                "arm": str(row["arm"]),
                "distance from the start": significant(row["distance"], 3),
                "95 % interval": f"[{significant(row['low'], 3)}, {significant(row['high'], 3)}]",
                "times the reference's": significant(row["ratio"]),
                "n": counted(row["n"], "member"),
            }
            for row in distances_table(results).to_dict("records")
        ],
    )


def _range(mean: float, low: float, high: float) -> str:
    text = significant(mean)
    return text if low == high or text == MISSING else f"{text} [{low:g}, {high:g}]"

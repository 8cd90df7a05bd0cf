"""Looks at members of a search that may be stopped early: what is seen, and the columns that hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tune_lb.observation.outcome import Seen, looked_at
from tune_lb.results.columns import Column
from tune_lb.search.score import look_column
from tune_lb.space.halving import Halving
from tune_lb.training.running import Running

STOPPED_AT = "stopped_at"


def look(training: Running, stopping: Halving, seen: list[dict[int, Seen]]) -> None:
    """Look at members, if they have come to the next look and not to their end; seen: what was seen at looks before."""
    at = stopping.looks[len(seen) :]
    if at and not training.done and training.plan.reached(training.step, at[0]):
        seen.append(looked_at(training))


def look_columns(seen: Sequence[Mapping[int, Seen]], seed: int) -> dict[str, Any]:
    """Return what was seen of a member at each look that it passed, as columns of its row."""
    return {
        look_column(number, name): value
        for number, at_look in enumerate(seen, 1)
        if seed in at_look
        for name, value in zip(("validation_loss", "validation_error"), at_look[seed], strict=False)
    }


def stopping_columns(stopping: Halving | None) -> list[Column]:
    """Return the columns that members have where configurations are stopped early."""
    if stopping is None:
        return []
    text = "epoch at whose end the search stopped it early; null for a member that was trained to its end"
    found = [Column(STOPPED_AT, "float", text, role="outcome")]
    for number, share in enumerate(stopping.looks, 1):
        for kind, unit in (("loss", "nats per example"), ("error", "fraction")):
            text = f"validation {kind} after {share:.4g} of the training, by which it was stopped or not, {unit}"
            found.append(Column(look_column(number, f"validation_{kind}"), "float", text, role="outcome"))
    return found

"""The score of a member: what a search ranks and decides by."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tune_lb.losses import cross_entropy
from tune_lb.samplers.sampler import Scores
from tune_lb.space.objectives import objective_value
from tune_lb.training.trial import Trial


class Score(NamedTuple):
    """Validation loss, error and soft error of a member; lower is better in all three.

    loss: infinite for a diverged member. soft_error: mean over validation examples of 1 - p(target); nan where outputs are no class
    probabilities. test_error: nothing is selected by it; it says how well a difference is known (search/confirming.py).
    objectives: what the space's are, in its order (tune_lb.space.objectives). looks: loss and error at each look at which it could
    have been stopped (tune_lb.space.halving), as far as it went; is_whole: whether it was trained to its end.
    """

    loss: float
    error: float = 0.0
    soft_error: float = math.nan
    test_error: float = math.nan
    objectives: Sequence[float] = ()
    looks: Sequence[Sequence[float]] = ()
    is_whole: bool = True


def score_of(row: Mapping[str, Any], objectives: Sequence[str] = ()) -> Score:
    """Return what a member counts for in the search, from its row.

    0 where there is no validation part: nothing is selected then, and any number does. A diverged member has no loss: its is
    infinite, as are its objectives, and one of which the row has nothing.
    """
    diverged = row.get("status") == "diverged"
    loss, error = (
        (math.inf if diverged else 0.0) if row.get(name) is None else float(row[name])
        for name in ("validation_loss", "validation_error")
    )
    soft, test = (
        math.nan if row.get(name) is None else float(row[name]) for name in ("validation_soft_error", "test_error")
    )
    sought = tuple(math.inf if diverged else _or_infinite(objective_value(name, row)) for name in objectives)
    looks = tuple(looks_of(row))
    return Score(math.inf if diverged else loss, error, soft, test, sought, looks, row.get("status") != "stopped")


def look_column(look: int, name: str) -> str:
    """Return the column of what was seen of a member at a look, from 1: look1.validation_loss."""
    return f"look{look}.{name}"


def looks_of(row: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """Yield validation loss and error at each look that a member passed, from its row."""
    for look in itertools.count(1):
        loss, error = (row.get(look_column(look, name)) for name in ("validation_loss", "validation_error"))
        if loss is None or error is None:
            return
        yield float(loss), float(error)


def measured(score: Score, values: Mapping[str, Any], objectives: Sequence[str]) -> Score:
    """Return a score with those objectives that were measured of its member after it was stored."""
    if not objectives:
        return score
    pairs = zip(objectives, score.objectives, strict=True)
    return score._replace(
        objectives=tuple(known if (v := objective_value(o, values)) is None else v for o, known in pairs)
    )


def sought(score: Score, otherwise: float) -> Scores:
    """Return what a sampler is told of a configuration: its objectives, where there are any, one as a number."""
    values = tuple(score.objectives)
    return values[0] if len(values) == 1 else values or otherwise


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value


def chance_loss(trial: Trial, num_classes: int | None) -> float:
    """Return the loss of a guess without knowledge, log C nats for cross entropy with C classes; infinite where it is not known."""
    known = trial.loss is cross_entropy or getattr(trial.loss, "name", "") == "CrossEntropyLoss"
    return math.log(num_classes) if known and num_classes and num_classes > 1 else math.inf

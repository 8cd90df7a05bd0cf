"""How sure an arm's selection is: the variance that its search and decide members show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tune_lb.inference.decision import log_loss
from tune_lb.inference.selection_variance import Searched, selection_variance
from tune_lb.search.deciding import standing_of
from tune_lb.search.score import Score
from tune_lb.settings.domain import Domain, Interval


def variance_of_selection(
    dimensions: Mapping[str, Domain],
    searched: Iterable[tuple[Mapping[str, Any], Score | None]],
    kept: Sequence[Mapping[str, Any]],
    table: Sequence[Sequence[Score | None]],
    select_by: str,
    chance: float = math.inf,
) -> float:
    """Return V of an arm (tune_lb.inference.selection_variance); nan where it is not known.

    searched: values and score of every configuration of the search; kept: the values that were decided between; table: their scores
    by configuration and block. None: failed. chance: the loss of a guess.
    """
    if len(kept) < 2:
        return math.nan
    rows = [(values, -1, _number(kept, values), score) for values, score in searched]
    rows += [(kept[k], block, k, score) for k, scores in enumerate(table) for block, score in enumerate(scores)]
    there = [
        (values, block, k, score)
        for values, block, k, score in rows
        if score is not None and math.isfinite(score.loss) and math.isfinite(score.test_error)
    ]
    if not there:
        return math.nan
    has_soft = any(score is not None and math.isfinite(score.soft_error) for scores in table for score in scores)
    losses = np.array([score.loss for *_, score in there])
    found = Searched(
        points=np.array([[coordinate(d, values.get(name)) for name, d in dimensions.items()] for values, *_ in there]),
        block=np.array([block for _, block, *_ in there], dtype=np.int64),
        candidate=np.array([k for _, _, k, _ in there], dtype=np.int64),
        log_loss=log_loss(losses, chance if math.isfinite(chance) else None),
        soft_error=np.array([score.soft_error if has_soft else score.error for *_, score in there]),
        test_error=np.array([score.test_error for *_, score in there]),
    )
    return selection_variance(found, standing_of(table, select_by, chance))


def _number(kept: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> int:
    return next((k for k, own in enumerate(kept) if own == values), -1)


def coordinate(domain: Domain, value: Any) -> float:
    """Return where a value lies in its domain, in [0, 1], on a log scale where the domain is; of K choices, k / (K - 1).

    0.5 for a missing value, and for a choice that is not listed. The same as analysis/decisions.py has of rows.
    """
    if not isinstance(domain, Interval):
        places = [k for k, choice in enumerate(domain.values) if choice == value]
        return places[0] / (len(domain.values) - 1) if places and len(domain.values) > 1 else 0.5
    if not isinstance(value, int | float) or not math.isfinite(value):
        return 0.5
    # what a combined arm took from another has neutral values, which may lie outside
    low, high, at = float(domain.low), float(domain.high), min(max(float(value), domain.low), domain.high)
    if domain.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)

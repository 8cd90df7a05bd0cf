"""What a search ranks its configurations by, and what it decides between the best of them by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tune_lb.inference.decision import Standing, residual_spread, standing
from tune_lb.search.score import Score


def rank(select_by: str, score: Score) -> tuple[float, float]:
    """Return what configurations are ordered by in the search: loss, then error; or the other way round (select_by = error)."""
    return (score.error, score.loss) if select_by == "error" else (score.loss, score.error)


def decided_for(table: Sequence[Sequence[Score | None]], select_by: str, chance: float = math.inf) -> int:
    """Return the number of the configuration that is decided for. table: scores by configuration and block, None: failed.

    auto: by loss and soft error (the error itself where a member has no soft error); loss: by loss alone; error: by the mean error,
    equal ones by loss. chance: the loss of a guess; infinite where it is not known.
    """
    if select_by != "error":
        return standing_of(table, select_by, chance).choice
    losses = _array(table, [[math.nan if s is None else s.loss for s in row] for row in table])
    lost = np.where(np.isfinite(losses), losses, np.nan)
    order = [(round(mean, 12), _mean(row)) for mean, row in zip(_mean_errors(table), lost, strict=True)]
    return min(range(len(order)), key=lambda k: (*order[k], k))


def standing_of(table: Sequence[Sequence[Score | None]], select_by: str, chance: float = math.inf) -> Standing:
    """Return what the decision rests on. Arguments: see decided_for."""
    losses = _array(table, [[math.nan if s is None else s.loss for s in row] for row in table])
    errors = _array(table, [[math.nan if s is None else s.error for s in row] for row in table])
    if select_by == "error":
        whole = errors[np.isfinite(errors).all(axis=1)]
        return Standing(np.array(_mean_errors(table)), None, residual_spread(whole), math.nan, errors.shape[1])
    limit = chance if math.isfinite(chance) else None
    losses = np.where(np.isfinite(losses), losses, np.nan)
    if select_by == "loss":
        return standing(losses, None, limit)
    soft = _array(table, [[math.nan if s is None else s.soft_error for s in row] for row in table])
    has_soft = bool(np.isfinite(soft).any())
    return standing(losses, np.where(np.isfinite(losses), soft if has_soft else errors, np.nan), limit)


def _mean_errors(table: Sequence[Sequence[Score | None]]) -> list[float]:
    """Return mean errors: a diverged member has the error of chance; a failed one says nothing."""
    known = [[s.error for s in row if s is not None and math.isfinite(s.error)] for row in table]
    return [sum(row) / len(row) if row else math.inf for row in known]


def _array(
    table: Sequence[Sequence[object]], values: list[list[float]]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array(values, dtype=np.float64).reshape(len(table), -1)


def _mean(row: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    known = row[np.isfinite(row)]
    return float(known.mean()) if known.size == row.size and known.size else math.inf

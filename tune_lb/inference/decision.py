"""The decision between the candidates of an arm, by log validation loss and soft validation error over blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune_lb.inference.effects import FloatArray


@dataclass(frozen=True)
class Standing:
    """How K candidates stand after R blocks, and how well that is known. What a decision rests on."""

    loss: FloatArray
    """(K,) mean log validation loss; inf for a candidate of which every member is missing or diverged."""
    error: FloatArray | None
    """(K,) mean (soft) validation error; inf likewise; None where it is decided by loss alone."""
    loss_spread: float
    """Residual standard deviation of the log loss of one member, in the additive fit by candidate and block; nan if unknown."""
    error_spread: float
    blocks: int

    @property
    def choice(self) -> int:
        """Return the candidate that is decided for."""
        return int(choices(self.loss[None], None if self.error is None else self.error[None])[0])


def decide(loss: FloatArray, error: FloatArray | None = None, chance: float | None = None) -> int:
    """Return argmin_k (l_k - min l) / sd(l) + (e_k - min e) / sd(e) over K candidates in R blocks.

    loss: (K, R) validation loss (nats), l_k its mean log. error: (K, R) soft validation error, mean of 1 - p(y), or the error
    where outputs are no probabilities; e_k its mean; None: by loss alone. nan: missing or diverged, which counts as the loss
    and the error of chance: `chance` for the loss (log C for C classes), else the worst that was seen. sd: over candidates; a
    term in which all are equal says nothing. Among equal ones the first; 0 where there is one candidate, or all diverged.
    """
    return standing(loss, error, chance).choice


def standing(loss: FloatArray, error: FloatArray | None = None, chance: float | None = None) -> Standing:
    """Return the means and spreads that `decide` decides by. Raises ValueError without a candidate or a block."""
    if loss.ndim != 2 or not loss.size or (error is not None and error.shape != loss.shape):
        raise ValueError(f"losses and errors are (candidates, blocks), at least one of each; these are {loss.shape}")
    lost = ~np.isfinite(loss) | (False if error is None else ~np.isfinite(error))
    logs = log_loss(np.where(lost, np.nan, loss), chance)
    errors = None if error is None else _filled(np.where(lost, np.nan, error), None)
    gone = lost.all(axis=1)
    return Standing(
        loss=np.where(gone, np.inf, logs.mean(axis=1)),
        error=None if errors is None else np.where(gone, np.inf, errors.mean(axis=1)),
        loss_spread=residual_spread(logs[~gone]),
        error_spread=float("nan") if errors is None else residual_spread(errors[~gone]),
        blocks=loss.shape[1],
    )


def log_loss(loss: FloatArray, chance: float | None = None) -> FloatArray:
    """Return log(min(loss, chance)); nan and infinite losses count as chance, or as the worst seen where chance is not known.

    Losses that are not all positive (no cross entropies) are taken as they are.
    """
    clipped = _filled(loss if chance is None else np.minimum(loss, chance), chance)
    return np.log(clipped) if np.all(clipped > 0) else clipped


def choices(loss: FloatArray, error: FloatArray | None = None) -> NDArray[np.int64]:
    """Return by row of (B, K) mean log losses and mean errors the candidate that is decided for: shape (B,)."""
    total = _standardized(loss)
    if error is not None:
        total = total + _standardized(error)
    return np.asarray(total.argmin(axis=1), dtype=np.int64)


def residual_spread(table: FloatArray) -> float:
    """Return the residual standard deviation of a (K, R) table in its additive fit x_kr = a_k + b_r; nan below 2 x 2."""
    k, r = table.shape
    if k < 2 or r < 2:
        return float("nan")
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float(np.sqrt((rest**2).sum() / ((k - 1) * (r - 1))))


def _standardized(means: FloatArray) -> FloatArray:
    there = np.isfinite(means)
    least = np.where(there, means, np.inf).min(axis=1, keepdims=True)
    spread = np.std(means, axis=1, ddof=1, keepdims=True, where=there) if there.sum(axis=1).min() > 1 else np.zeros(1)
    above = np.where(there, means, 0.0) - np.where(np.isfinite(least), least, 0.0)
    # where all are equal only those that are gone are told apart
    return np.where(there, above / np.where(spread > 0, spread, np.inf), np.inf)


def _filled(table: FloatArray, chance: float | None) -> FloatArray:
    there = np.isfinite(table)
    worst = chance if chance is not None else float(table[there].max()) if there.any() else 1.0
    return np.where(there, table, worst)

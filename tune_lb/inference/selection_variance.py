"""How much the error of what a search selects would move if it were repeated: the variance of the selection."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune_lb.inference.decision import Standing, choices
from tune_lb.inference.effects import FloatArray

IntArray = NDArray[np.int64]
RIDGE = 1.0
"""Penalty of the quadratic, in squared coefficients over coordinates in [-1, 1], in units of one member."""

FREEDOM = 10.0
"""Degrees of freedom that V_a + V_ref counts for: two arms of about five candidates, held up by the floor over all arms."""

FLOOR = 0.5
"""No arm's variance is below this share of the mean over the arms: a decision may look surer than it is."""


@dataclass(frozen=True)
class Searched:
    """The N members of an arm's search and decide stages, diverged ones left out."""

    points: FloatArray
    """(N, d) configurations in the unit cube of the arm's d dimensions; d = 0 where nothing is searched."""
    block: IntArray
    """(N,) number of the block, different in the two stages."""
    candidate: IntArray
    """(N,) number of the candidate, as in the arrays of the decision; -1 for configurations that were no candidates."""
    log_loss: FloatArray
    """(N,) log validation loss, clipped at chance."""
    soft_error: FloatArray
    """(N,) soft validation error, 1 - p(y); the error where there is none."""
    test_error: FloatArray
    """(N,) what the arms are compared by."""


def selection_variance(searched: Searched, decided: Standing, draws: int = 100, seed: int = 0) -> float:
    """Return V, the variance of the error of the candidate decided for, over repetitions of the search's last steps.

    `draws` times one of the K candidates, drawn at random, is left out, for the search might not have met it;
    N(0, s_l^2 / r) is added to the mean log losses and N(0, s_e^2 / r) to the mean soft errors of the others, and it is decided
    again; s: the residual spreads of the candidates x blocks tables, r: blocks. V is the variance (about its mean) of the fitted
    test error of what is chosen, see `fitted_errors`. 0 with one candidate, and with none that is left; nan where the spread is
    not known (one block): see `with_floor`. Cost: draws x K numbers and one small least-squares fit.
    """
    left = np.isfinite(decided.loss)
    num_left = int(left.sum())
    if num_left < 2:
        return 0.0
    by_error = decided.error is not None
    if not math.isfinite(decided.loss_spread) or (by_error and not math.isfinite(decided.error_spread)):
        return float("nan")
    fitted = fitted_errors(searched, len(decided.loss))[left]
    if not np.isfinite(fitted).all():
        return float("nan")
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, draws, num_left)) / math.sqrt(decided.blocks)
    losses = decided.loss[left] + decided.loss_spread * noise[0]
    errors = None if decided.error is None else decided.error[left] + decided.error_spread * noise[1]
    # a row each: who is there in a repetition, in order
    there = np.sort(rng.random((draws, num_left)).argsort(axis=1)[:, : num_left - 1], axis=1)
    again = choices(
        np.take_along_axis(losses, there, axis=1), None if errors is None else np.take_along_axis(errors, there, axis=1)
    )
    return float(fitted[np.take_along_axis(there, again[:, None], axis=1)].var())


def fitted_errors(searched: Searched, num_candidates: int) -> FloatArray:
    """Return the fitted test error of every candidate: (K,); nan for one without a member.

    A ridge quadratic with block dummies: least squares of the test errors on block dummies and 1, z, z^2 and products of the
    coordinates z = 2 u - 1 in [-1, 1], the latter with penalty RIDGE sum b^2; and, so that what the quadratic misses is not
    lost, on one dummy for each candidate with the same penalty. Of the search's members the better half by loss takes part:
    what is far from the optimum would bend the quadratic.
    """
    fits = searched.candidate >= 0
    others = searched.log_loss[~fits]
    if others.size:
        fits = fits | (searched.log_loss <= np.median(np.concatenate([others, searched.log_loss[fits]])))
    block, candidate = searched.block[fits], searched.candidate[fits]
    own = (candidate[:, None] == np.arange(num_candidates)).astype(float)
    penalized = np.hstack([_quadratic(searched.points[fits]), own])
    dummies = (block[:, None] == np.unique(block)).astype(float)
    design = np.hstack([penalized, dummies])
    penalty = np.diag([RIDGE] * penalized.shape[1] + [1e-9] * dummies.shape[1])
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ searched.test_error[fits])
    found = np.full(num_candidates, np.nan)
    # a candidate's rows differ in their blocks alone, which all candidates share
    for k in range(num_candidates):
        rows = np.flatnonzero(candidate == k)
        if rows.size:
            found[k] = penalized[rows[0]] @ weights[: penalized.shape[1]] + weights[penalized.shape[1] :].mean()
    return found


def with_floor(variances: FloatArray) -> FloatArray:
    """Return max(V_a, FLOOR times the mean of V over the arms) by arm; an unknown one (nan) becomes the mean of the known.

    All unknown: 0 for every arm, and nothing can be said of the procedure.
    """
    known = variances[np.isfinite(variances)]
    mean = float(known.mean()) if known.size else 0.0
    return np.maximum(np.where(np.isfinite(variances), variances, mean), FLOOR * mean)


def _quadratic(points: FloatArray) -> FloatArray:
    z = 2 * points - 1
    d = z.shape[1]
    products = [z[:, i] * z[:, j] for i in range(d) for j in range(i, d)]
    return np.column_stack([z, *products]) if d else np.empty((len(z), 0))

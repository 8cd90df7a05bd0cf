"""Sharpness, gap and train loss of the arms against the reference, paired by block; rank correlations over the arms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray, means_of_known
from analysis.asked import Asked
from analysis.blocks import arrays
from analysis.sharpness import MIN_POINTS, RankCorrelation, rank_correlation, rank_correlations
from tune_lb.inference.effects import differences, paired_t

NUM_DRAWS = 1000
LEAST_BLOCKS = 4
"""Below, an interval is wider than anything that it could say, and draws of blocks have few different values."""
LEAST_KNOWN = 0.9
"""Share of the draws in which a correlation must be defined for an interval."""
GAPS = ("generalization_gap", "generalization_gap_loss")
CORRELATIONS = ("with_gap", "with_train_loss", "partial")
COLUMNS = ["value", "arm", "is_ratio", "difference", "low", "high", "n"]


def measured_differences(confirmed: pd.DataFrame, asked: Asked, values: Sequence[str]) -> pd.DataFrame:
    """Arm against reference in each value, over the blocks in which both were measured: value, arm, difference, low, high, n.

    A value that is positive in all members is compared as a ratio to the reference's (differences of logarithms, is_ratio true),
    any other, and a gap, as a difference. Intervals are Bonferroni-t, simultaneous over the arms of one
    value, from 4 blocks on. n: blocks.
    """
    rows = []
    for value in values:
        tables = arrays(confirmed, value)
        reference = tables.get(str(asked.reference))
        if reference is None or not np.isfinite(reference).any():
            continue
        ratio = value not in GAPS and all(bool((t[np.isfinite(t)] > 0).all()) for t in tables.values())
        scaled = {name: np.log(table) if ratio else table for name, table in tables.items()}
        of = scaled.pop(str(asked.reference))
        found = {name: differences(scaled[name], of) for name in asked.order(list(scaled))}
        found = {name: d for name, d in found.items() if d.size}
        for name, d in found.items():
            effect = paired_t(d, family=len(found))
            known = d.size >= LEAST_BLOCKS
            ends = (effect.estimate, effect.low, effect.high) if known else (effect.estimate, math.nan, math.nan)
            rows.append((value, name, ratio, *(map(math.exp, ends) if ratio else ends), d.size))
    return pd.DataFrame(rows, columns=COLUMNS)


def correlations(confirmed: pd.DataFrame, values: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Rank correlations over the means of the arms, over the blocks in which a value was measured: one row per value.

    with_gap, with_train_loss, partial and n (arms), see `rank_correlation`; num_blocks; and of each the ends of an interval,
    from blocks drawn with replacement, the same for all arms: 2.5 and 97.5 % quantiles of 1,000 draws. It says what other blocks
    would have given for these arms, not what other arms would.
    """
    rows = []
    for value in values:
        measured = confirmed[confirmed[value].notna()]
        tables = [arrays(measured, name) for name in (value, "generalization_gap", "train_loss")]
        arms = list(tables[0])
        # (3, arms, S)
        means = np.array([[means_of_known(table[arm]) for arm in arms] for table in tables])
        if not means.size:
            continue
        means = np.where(np.isfinite(means).all(axis=0), means, np.nan)
        found = rank_correlation(*_over_blocks(means))
        row: dict[str, object] = {"value": value, **found._asdict(), "num_blocks": means.shape[2]}
        low, high = _ends(means, seed)
        for k, name in enumerate(CORRELATIONS):
            row |= {f"{name}_low": float(low[k]), f"{name}_high": float(high[k])}
        rows.append(row)
    ends = [f"{name}_{end}" for name in CORRELATIONS for end in ("low", "high")]
    return pd.DataFrame(rows, columns=["value", *RankCorrelation._fields, "num_blocks", *ends])


def _ends(means: FloatArray, seed: int) -> tuple[FloatArray, FloatArray]:
    """Quantiles of the correlations over redrawn blocks, (3,) each; nan where they are not defined often enough."""
    unknown = np.full(len(CORRELATIONS), np.nan)
    num_blocks = means.shape[2]
    if num_blocks < LEAST_BLOCKS:
        return unknown, unknown
    drawn = np.random.default_rng(seed).integers(0, num_blocks, (NUM_DRAWS, num_blocks))
    again = np.stack([_over_blocks(means[:, :, blocks]) for blocks in drawn])
    # arms that no drawn block measured leave the draw out
    whole = np.isfinite(again).all(axis=(1, 2))
    if whole.sum() < LEAST_KNOWN * NUM_DRAWS or again.shape[2] < MIN_POINTS:
        return unknown, unknown
    found = rank_correlations(again[whole])
    often = np.isfinite(found).sum(axis=0) >= LEAST_KNOWN * NUM_DRAWS
    low, high = np.nanquantile(np.where(often, found, 0.0), (0.025, 0.975), axis=0)
    return np.where(often, low, np.nan), np.where(often, high, np.nan)


def _over_blocks(means: FloatArray) -> FloatArray:
    """(3, arms), means over the blocks that are known; nan for an arm with none."""
    return means_of_known(means)

"""The sampling error of the test examples: what a difference would move by on other examples, from the stored predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.asked import Asked
from analysis.frames import Predictions
from tune_lb.inference.test_examples import example_variance


@dataclass(frozen=True)
class TestSets:
    """What each arm gets wrong of which test example.

    wrong: arm -> (S, N), share of a block's members that class an example wrongly, nan where it is none of the block's test
    examples. is_fixed: whether all blocks have the same ones. disagreeing: arm -> share of predictions that differ from the
    reference's member of the same block and seed.
    """

    wrong: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    is_fixed: bool = True
    disagreeing: dict[str, float] = field(default_factory=dict)

    def variance(self, first: str | None, second: str | None) -> float:
        """Variance over test examples of the mean difference of two arms; nan without predictions, see `example_variance`."""
        if first not in self.wrong or second not in self.wrong:
            return math.nan
        return example_variance((self.wrong[first] - self.wrong[second]).astype(np.float64))


def are_fixed(asked: Asked) -> bool:
    """Whether all blocks have the same test examples: the publishers', or nothing is cut anew."""
    return asked.own_test_split or asked.design is None or not asked.design.fresh_splits


def read_test_sets(confirmed: pd.DataFrame, predictions: Predictions, asked: Asked) -> TestSets:
    """From the predictions of the confirm members; nothing where there are none, or where examples of cuts cannot be joined."""
    fixed = are_fixed(asked)
    where = _columns(predictions, fixed=fixed)
    if not where:
        return TestSets(is_fixed=fixed)
    size = 1 + max(int(columns.max()) for columns in where.values() if columns.size)
    blocks = {block: row for row, block in enumerate(sorted(confirmed["block"].unique()))}
    wrong: dict[str, NDArray[np.float32]] = {}
    for arm, rows in confirmed.groupby("arm"):
        table = np.full((len(blocks), size), np.nan, dtype=np.float32)
        for block, own in rows.groupby("block"):
            split = int(own["split_seed"].iloc[0])
            found = [predictions.classes.get(key) for key in _keys(own)]
            known = [classes for classes in found if classes is not None]
            if known and split in where:
                share = np.mean([classes != predictions.targets[split] for classes in known], axis=0)
                table[blocks[block], where[split]] = share
        if np.isfinite(table).any():
            wrong[str(arm)] = table
    return TestSets(wrong, fixed, _disagreeing(confirmed, predictions, asked))


def _columns(predictions: Predictions, *, fixed: bool) -> dict[int, NDArray[np.int64]]:
    """Split seed -> the column of each test example: its position, or in resampled cuts its index in the whole data."""
    if fixed:
        return {split: np.arange(targets.size) for split, targets in predictions.targets.items()}
    return {split: index for split, index in predictions.examples.items() if split in predictions.targets}


def _disagreeing(confirmed: pd.DataFrame, predictions: Predictions, asked: Asked) -> dict[str, float]:
    by_arm = {
        str(arm): {
            (int(block), int(seed)): predictions.classes[key]
            for block, seed, key in zip(rows["block"], rows["seed"], _keys(rows), strict=True)
            if key in predictions.classes
        }
        for arm, rows in confirmed.groupby("arm")
    }
    reference = by_arm.get(str(asked.reference), {})
    return {
        arm: float(np.mean([np.mean(own[key] != reference[key]) for key in own.keys() & reference.keys()]))
        for arm, own in by_arm.items()
        if arm != asked.reference and own.keys() & reference.keys()
    }


def _keys(rows: pd.DataFrame) -> list[tuple[str, int]]:
    return [(str(trial_id), int(seed)) for trial_id, seed in zip(rows["trial_id"], rows["seed"], strict=True)]

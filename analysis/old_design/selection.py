"""Selection on validation: which trial of each arm and split was confirmed, and what the arm showed there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.asked import Asked
from analysis.old_design.points import point_numbers
from analysis.old_design.ties import SEARCH_STAGES, scores, trial_scores


@dataclass(frozen=True)
class SearchedArm:
    """What one arm showed in one split.

    validation, test: (num_trials, num_search_seeds), what search and rescreen members are selected by (validation error, or loss)
    and their test errors, nan where there is none; a trial with a member of infinite loss has none.
    tie: (num_trials,) mean of what decides between trials of equal validation.
    points: (num_trials,) number of the quasi-random point; -1 for a derived arm. confirmed: row of the selected trial.
    confirm_test: (num_confirm_seeds,), nan where a seed is missing.
    """

    trial_ids: tuple[str, ...]
    points: NDArray[np.int64]
    validation: FloatArray
    test: FloatArray
    confirmed: int
    confirm_test: FloatArray
    tie: FloatArray

    @property
    def test_error(self) -> float:
        """Mean test error of the selected configuration over its confirm seeds."""
        return float(np.nanmean(self.confirm_test))


def confirmed_trials(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The selected trial of each arm and split (columns arm, split_seed, trial_id): the one with confirm members.

    Where an extended search has confirmed several, the one that space.json calls selected; if it does not say (the search
    was broken off), the one with the lowest validation error (or loss) before the confirm stage, ties by the other of the two.
    """
    confirm = members.loc[members["stage"] == "confirm", ["arm", "split_seed", "trial_id"]].drop_duplicates()
    before = trial_scores(members, asked)
    ranked = confirm.assign(
        other=~confirm["trial_id"].isin(asked.selected_trials),
        before=confirm["trial_id"].map(before["value"]),
        tie=confirm["trial_id"].map(before["tie"]),
    ).sort_values(["other", "before", "tie", "trial_id"])
    return ranked.drop_duplicates(["arm", "split_seed"])[["arm", "split_seed", "trial_id"]]


def searched_arms(members: pd.DataFrame, asked: Asked) -> dict[str, dict[int, SearchedArm]]:
    """Arm -> split_seed -> what it showed; arms and splits without a confirmed member are left out."""
    points = point_numbers(members, asked)
    selected = confirmed_trials(members, asked)
    members = members.assign(**scores(members, asked))
    ties = trial_scores(members, asked)["tie"]
    before = members[members["stage"].isin(SEARCH_STAGES)]
    search_seeds = np.unique(before["seed"])
    confirm = members[members["stage"] == "confirm"]
    confirm_seeds = np.unique(confirm["seed"])
    found: dict[str, dict[int, SearchedArm]] = {}
    for arm, split_seed, chosen in selected.itertuples(index=False):
        rows = before[(before["arm"] == arm) & (before["split_seed"] == split_seed)]
        ids = sorted({*rows["trial_id"], chosen})
        own = confirm[confirm["trial_id"] == chosen].set_index("seed")["test_error"].reindex(confirm_seeds)
        found.setdefault(str(arm), {})[int(split_seed)] = SearchedArm(
            trial_ids=tuple(ids),
            points=points.reindex(ids).fillna(-1).to_numpy(np.int64),
            validation=_selectable(_matrix(rows, "value", ids, search_seeds)),
            test=_matrix(rows, "test_error", ids, search_seeds),
            confirmed=ids.index(chosen),
            confirm_test=own.to_numpy(np.float64),
            tie=ties.reindex(ids).to_numpy(np.float64),
        )
    return found


def _matrix(rows: pd.DataFrame, column: str, trial_ids: list[str], seeds: NDArray[np.int64]) -> FloatArray:
    """(num_trials, num_seeds), nan where a member is missing."""
    table = np.full((len(trial_ids), seeds.size), np.nan)
    table[pd.Index(trial_ids).get_indexer(pd.Index(rows["trial_id"])), np.searchsorted(seeds, rows["seed"])] = rows[
        column
    ]
    return table


def _selectable(values: FloatArray) -> FloatArray:
    return np.where(np.isinf(values).any(axis=1, keepdims=True), np.nan, values)

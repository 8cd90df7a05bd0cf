"""From the files of a run back to its search: which members count, with which score, and what the search selects from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tune_lb.results.code_versions import salts
from tune_lb.results.columns import FINISHED
from tune_lb.results.ledger import Ledger
from tune_lb.results.run_files import read_members
from tune_lb.results.storage import Store
from tune_lb.search.arm_in_split import Split
from tune_lb.search.planner import Search
from tune_lb.search.score import Score, score_of
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.training.trial import Trial
from tune_lb.tuning.recorded_proposals import recorded_proposals

Scores = dict[tuple[str, int], Score]
"""By (trial_id, seed)."""

SCORED = ("trial_id", "seed", "status", "validation_error", "validation_loss")
"""Columns that scores are made of."""


def scores_of(rows: Iterable[Mapping[str, Any]], select_by: str = "error") -> Scores:
    """Return the scores of the members that are finished, diverged ones among them; the others are to be trained again."""
    return {(row["trial_id"], row["seed"]): score_of(row, select_by) for row in rows if row["status"] in FINISHED}


def replayed(space: Space, splits: Mapping[int, Split], ledger: Ledger, scores: Scores, **options: Any) -> Search:
    """Return the search as it stands after the members that are stored. options: see Search."""
    proposed = recorded_proposals(ledger, checked_designs(space))
    state = Search(space, splits, proposed=proposed, **options)
    for (trial_id, seed), found in scores.items():
        state.observe(trial_id, {seed: found})
    return state


def replayed_run(store: Store, space: Space, known: Mapping[str, Any]) -> Search:
    """Return the search of a run from its files alone. known: its space.json; space: the one that it was made of."""
    data = known["data"]
    others = known.get("other_data", {})
    splits = {
        int(seed): Split(
            print_,
            data["num_validation"],
            {name: Split(own["fingerprints"][seed], own["num_validation"]) for name, own in others.items()},
            salts(known.get("code", {})),
        )
        for seed, print_ in data["fingerprints"].items()
    }
    members, _ = read_members(store)
    scores = scores_of(members.select(SCORED).to_pylist(), space.select_by)
    return replayed(space, splits, Ledger(store.child("ledger")), scores, ties_decided=ties_decided(known))


def ties_decided(known: Mapping[str, Any]) -> bool:
    """Say whether the search of a run decides between configurations of equal error, from its space.json; see Search."""
    return bool(known.get("ties_decided", False))


def selected_trials(state: Search) -> dict[tuple[str, int], tuple[str, Trial]]:
    """Return trial_id and trial selected so far, by (arm, split seed)."""
    found = {(arm, split): state.selected(arm, split) for arm, split in state.pairs}
    return {key: (chosen.trial_id, chosen.trial) for key, chosen in found.items() if chosen is not None}


def selected_ids(state: Search) -> dict[str, dict[str, str]]:
    """Return the trial_id selected so far, by arm and split seed, as space.json holds them."""
    found: dict[str, dict[str, str]] = {}
    for (arm, split_seed), (trial_id, _) in selected_trials(state).items():
        found.setdefault(arm, {})[str(split_seed)] = trial_id
    return found

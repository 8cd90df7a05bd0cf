"""From the files of a run back to its search: which members count, with which score, and what the search selects from them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tune_lb.results.code_versions import salts
from tune_lb.results.columns import FINISHED
from tune_lb.results.ledger import Ledger
from tune_lb.results.run_files import PROCEDURE as PROCEDURE
from tune_lb.results.run_files import of_old_design as of_old_design
from tune_lb.results.run_files import read_members
from tune_lb.results.storage import Store
from tune_lb.search.data_facts import DataFacts
from tune_lb.search.job import MemberKey
from tune_lb.search.job_size import JobSize
from tune_lb.search.planner import Search
from tune_lb.search.score import Score, score_of
from tune_lb.space.checks import checked_designs
from tune_lb.space.objectives import column_of
from tune_lb.space.space import Space
from tune_lb.tuning.recorded_proposals import recorded_proposals

Scores = dict[MemberKey, Score]
"""By (trial_id, seed)."""

SCORED = ("trial_id", "seed", "status", "validation_error", "validation_loss", "validation_soft_error", "test_error")
"""Columns that scores are made of."""

LOOK = re.compile(r"look\d+\.validation_(loss|error)")
"""Names of columns of what was seen of a member where it could have been stopped."""


def scored_columns(names: Iterable[str], objectives: Sequence[str]) -> list[str]:
    """Return the columns of a table that scores are made of. names: of all its columns."""
    there = set(names)
    looks = [name for name in there if LOOK.fullmatch(name)]
    return list(
        dict.fromkeys([*SCORED, *sorted(looks), *(column_of(name) for name in objectives if column_of(name) in there)])
    )


def scores_of(rows: Iterable[Mapping[str, Any]], objectives: Sequence[str] = ()) -> Scores:
    """Return the scores of the members that are finished, diverged ones among them; the others are to be trained again."""
    return {(row["trial_id"], row["seed"]): score_of(row, objectives) for row in rows if row["status"] in FINISHED}


def replayed(space: Space, facts: DataFacts, ledger: Ledger, scores: Scores, size: JobSize | None = None) -> Search:
    """Return the search as it stands after the members that are stored."""
    proposed = recorded_proposals(ledger, checked_designs(space))
    state = Search(space, facts, proposed=proposed, size=size)
    state.observe(scores)
    return state


def replayed_run(store: Store, space: Space, known: Mapping[str, Any]) -> Search:
    """Return the search of a run from its files alone. known: its space.json; space: the one that it was made of."""
    cut = bool(known["fresh_splits"])
    others = {name: _facts(own, cut) for name, own in known.get("other_data", {}).items()}
    facts = dataclasses.replace(_facts(known["data"], cut), others=others, salts=salts(known.get("code", {})))
    members, _ = read_members(store)
    columns = scored_columns(members.schema.names, space.objectives)
    scores = scores_of(members.select(columns).to_pylist(), space.objectives)
    return replayed(dataclasses.replace(space, fresh_splits=cut), facts, Ledger(store.child("ledger")), scores)


def selected_ids(state: Search) -> dict[str, str]:
    """Return the configuration_id selected so far, by arm, as space.json holds them."""
    found = {arm: state.selected(arm) for arm in state.arms}
    return {arm: chosen.configuration_id for arm, chosen in found.items() if chosen is not None}


def _facts(data: Mapping[str, Any], can_be_cut: bool) -> DataFacts:
    return DataFacts(data["fingerprints"]["0"], data["num_validation"], data["num_classes"], can_be_cut)

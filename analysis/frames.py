"""The files of a run as pandas frames: what everything else here stands on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.asked import Asked
from analysis.member_columns import ERRORS, Roles
from tune_lb.errors import RequestError
from tune_lb.results.code_versions import counts, old_members
from tune_lb.results.columns import LENT, roles_of
from tune_lb.results.merger import HISTORY_SCHEMA
from tune_lb.results.run_files import (
    read_examples,
    read_history,
    read_members,
    read_predictions,
    read_space,
    read_targets,
)
from tune_lb.results.storage import Store
from tune_lb.results.tables import decode_predictions

UNKNOWN_IF_DIVERGED = ("generalization_gap", "generalization_gap_loss", "train_loss", "validation_loss", "test_loss")


@dataclass(frozen=True)
class Predictions:
    """Classes of the test examples: predicted, by (trial_id, seed), and true, by split_seed.

    examples: by split_seed, which of the whole data the test examples are; nothing in runs that did not store it.
    """

    classes: Mapping[tuple[str, int], NDArray[np.int64]] = field(default_factory=dict)
    targets: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    examples: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Frames:
    """A run as its files tell it.

    members: one row per (trial_id, seed). history: tidy. descriptions, roles: of the members' columns. problems: what could
    not be read, each with its name. store: where predictions are read from when they are asked for.
    """

    space: Mapping[str, Any]
    members: pd.DataFrame
    history: pd.DataFrame
    descriptions: Mapping[str, str]
    roles: Roles
    problems: tuple[str, ...] = ()
    store: Store | None = None
    of_old_code: Mapping[str, int] = field(default_factory=dict)
    """How many members of each arm are left out: trained with code of the user's that has changed since."""

    def predictions(self, trial_ids: Collection[str], num_classes: int | None) -> Predictions:
        """Predictions of these trials; none where the run has none, or where they are damaged (see problems)."""
        if self.store is None or num_classes is None or not self.store.exists("predictions/targets.parquet"):
            return Predictions()
        try:
            table, problems = read_predictions(self.store)
            true, examples = read_targets(self.store), read_examples(self.store)
        except RequestError as error:
            return Predictions(problems=tuple(error.problems))
        table = table.filter(pc.is_in(table["trial_id"], pa.array(sorted(trial_ids), pa.string())))
        keys = zip(table["trial_id"].to_pylist(), table["seed"].to_pylist(), strict=True)
        coded = dict(zip(keys, table["predictions"].to_pylist(), strict=True))
        targets = {split: decode_predictions(data, num_classes) for split, data in true.items()}
        classes = {key: decode_predictions(data, num_classes) for key, data in coded.items()}
        return Predictions(classes, targets, tuple(problems), examples)


def read_frames(store: Store) -> Frames:
    """Read a run's folder. RequestError where there is no run; a damaged file is named in problems and left out."""
    space = read_space(store)
    members, problems = read_members(store)
    try:
        history, more = read_history(store)
    except RequestError as error:
        history, more = HISTORY_SCHEMA.empty_table(), error.problems
    found = {column.name: (column.metadata or {}).get(b"description", b"").decode() for column in members.schema}
    seen = tuple(dict.fromkeys((*problems, *more)))
    rows = members.to_pandas()
    versions = space.get("code", {})
    current = [counts(row, versions) for row in rows[[n for n in ("arm", "code") if n in rows]].to_dict("records")]
    old = old_members(rows[~np.array(current, dtype=bool)].to_dict("records"), versions)
    kept = rows[np.array(current, dtype=bool) & (rows["stage"] != LENT).to_numpy()].reset_index(drop=True)
    kept = without_absent(kept, space)
    return Frames(space, kept, history.to_pandas(), found, roles_of(members.schema), seen, store, old)


def without_absent(members: pd.DataFrame, space: Mapping[str, Any]) -> pd.DataFrame:
    """Members without values in dimensions that are not there, as the momentum of an optimizer whose momentum was not searched."""
    changed: dict[str, pd.Series] = {}
    for arm in space.get("arms") or ():
        for name, domain in (arm.get("dimensions") or {}).items():
            if domain.get("only") is not None and name in members and domain["only"]["name"] in members:
                own = (members["arm"] == arm["name"]) & ~members[domain["only"]["name"]].isin(domain["only"]["values"])
                changed[name] = changed.get(name, members[name]).mask(own)
    return members.assign(**changed) if changed else members


def at_chance(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Members with the errors of diverged ones at chance, 1 - 1 / num_classes, and their gaps and losses unknown."""
    if asked.num_classes is None:
        return members
    diverged = members["status"] == "diverged"
    # another error than shares of misclassified examples has another chance, which stands in the rows
    errors = [name for name in (*ERRORS, "test_error_running") if name in members] if asked.error is None else []
    unknown = [name for name in UNKNOWN_IF_DIVERGED if name in members]
    chance = 1 - 1 / asked.num_classes
    replaced = {name: members[name].mask(diverged, chance) for name in errors}
    return members.assign(**replaced, **{name: members[name].mask(diverged) for name in unknown})

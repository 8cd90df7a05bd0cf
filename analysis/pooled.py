"""Several runs as one: their members in the same tables, arms that they share put together, all else under RUN/ARM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.adequacy import Adequacy
from analysis.comparison import Comparison, compare
from analysis.decisions import Decision
from analysis.frames import Frames, Predictions
from analysis.results import Results
from analysis.run import Run
from analysis.several_runs import names_here, same_kind, why_not_paired

BLOCKS_APART = 1_000_000
"""Added to the numbers of blocks that are not those of the other runs."""


@dataclass(frozen=True)
class PooledResults(Results):
    """Several runs as one, see `pool`.

    runs: by name. called: run -> arm -> its name here. not_paired: why no difference is given between arms of different runs, ()
    where their blocks are the same: all arms are then compared with the reference of the first run. Else every arm stands with
    what its own run says of it. shared: members that more than one run had, which count once. other_protocol: metrics that
    were not measured alike: they stand for the first run that has them.
    """

    runs: Mapping[str, Results] = field(default_factory=dict)
    called: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    not_paired: tuple[str, ...] = ()
    shared: int = 0
    other_protocol: tuple[str, ...] = ()

    @property
    def parts(self) -> Mapping[str, Run]:
        """The runs that this is made of."""
        return self.runs

    @cached_property
    def is_written(self) -> bool:
        """Whether a search is at work on one of them."""
        return any(run.is_written for run in self.runs.values())

    @cached_property
    def decisions(self) -> dict[str, Decision]:
        """Arm -> how its configuration was decided for, by its own run's rules."""
        return {arm: found for _, run, called in self._each() for arm, found in _renamed(run.decisions, called)}

    @cached_property
    def searches(self) -> dict[str, Adequacy]:
        """Arm -> how its search went, against its own run's reference."""
        return {arm: found for _, run, called in self._each() for arm, found in _renamed(run.searches, called)}

    @cached_property
    def comparison(self) -> Comparison:
        """Every arm against the reference of the first run; V of each arm as in its own run."""
        variances = {
            arm: found for _, run, called in self._each() for arm, found in _renamed(run.comparison.variances, called)
        }
        return compare(self.confirmed, self.asked, variances, self.test_sets)

    @cached_property
    def stored_predictions(self) -> Predictions:
        """The test predictions of all runs; none where their test examples are not the same."""
        if self.not_paired:
            return Predictions()
        found = [(name, run.stored_predictions) for name, run, _ in self._each()]
        return Predictions(
            {(self._ids[name].get(id, id), seed): c for name, p in found for (id, seed), c in p.classes.items()},
            {split: targets for _, p in found for split, targets in p.targets.items()},
            tuple(problem for _, p in found for problem in p.problems),
            {split: examples for _, p in found for split, examples in p.examples.items()},
        )

    @cached_property
    def arms(self) -> pd.DataFrame:
        """One row per arm; where blocks are not paired, as in its own run."""
        return self._tables("arms") if self.not_paired else super().arms

    @cached_property
    def configurations(self) -> pd.DataFrame:
        """One row per configuration tried, as in its own run."""
        return self._tables("configurations")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """What the best of k points reaches in the search: arm, k, value."""
        return self._tables("curves")

    def _each(self) -> Iterator[tuple[str, Results, Mapping[str, str]]]:
        """Name, run, and what its arms are called here; the last run first, so that the first one's word is the last."""
        yield from ((name, self.runs[name], self.called[name]) for name in reversed(list(self.runs)))

    def _tables(self, name: str) -> pd.DataFrame:
        """A table of all runs, the first run's rows of shared arms."""
        found: list[pd.DataFrame] = []
        seen: set[str] = set()
        for of_run, run in self.runs.items():
            called, table = self.called[of_run], getattr(run, name)
            table = table.assign(arm=table["arm"].map(called))
            if "matched_by" in table:
                table = table.assign(matched_by=table["matched_by"].map(lambda arm, of=called: of.get(arm, "")))
            found.append(table[~table["arm"].isin(seen)])
            seen |= set(called.values())
        return stacked(found)

    @cached_property
    def _ids(self) -> dict[str, dict[str, str]]:
        return trial_ids(self.runs, self.called)


def _renamed(found: Mapping[str, Any], called: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    yield from ((called[arm], value) for arm, value in found.items())


def pool(found: Mapping[str, Run]) -> PooledResults:
    """Several runs as one, under their names.

    Arms that are the same in two of them, in all that shapes them (`arm_identities`), have the members of both, each once.
    Raises RequestError where the runs cannot be compared at all.
    """
    runs = same_kind(found)
    not_paired = why_not_paired(runs)
    called = names_here(runs, paired=not not_paired)
    apart = metrics_apart(runs)
    ids = trial_ids(runs, called)
    members, history, shared, seen = [], [], 0, pd.MultiIndex.from_tuples([], names=["trial_id", "seed"])
    for number, (name, run) in enumerate(runs.items()):
        frames = run.frames
        rows, past = (_with_ids(table, ids[name]) for table in (run.members, frames.history))
        rows = rows.assign(arm=rows["arm"].map(called[name]))
        if not_paired:
            rows = rows.assign(block=rows["block"] + BLOCKS_APART * number)
        rows = rows.drop(columns=[column for column in rows if of_metric(str(column), apart[name])])
        there = pd.MultiIndex.from_frame(rows[["trial_id", "seed"]]).isin(seen)
        shared += int(there.sum())
        members.append(rows[~there])
        history.append(past[~pd.MultiIndex.from_frame(past[["trial_id", "seed"]]).isin(seen)])
        seen = seen.append(pd.MultiIndex.from_frame(rows.loc[~there, ["trial_id", "seed"]]))
    every = [run.frames for run in runs.values()]
    frames = Frames(
        pooled_space(runs, called, asks_reference=not not_paired),
        stacked(members),
        stacked(history),
        {name: text for of in reversed(every) for name, text in of.descriptions.items()},
        {name: role for of in reversed(every) for name, role in of.roles.items()},
        tuple(f"{name}: {problem}" for name, run in runs.items() for problem in run.problems),
        of_old_code={
            called[name].get(arm, arm): number
            for name, run in runs.items()
            for arm, number in run.frames.of_old_code.items()
        },
    )
    lost = tuple(sorted({metric for of_run in apart.values() for metric in of_run}))
    return PooledResults(frames, runs, called, tuple(not_paired), shared, lost)


def trial_ids(runs: Mapping[str, Results], called: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Run -> trial_id -> id here, of the trials that an earlier run has in what is another arm: they are told apart by the run."""
    taken: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    for name, run in runs.items():
        pairs = run.frames.members[["trial_id", "arm"]].drop_duplicates("trial_id")
        own = {str(id): called[name][str(arm)] for id, arm in pairs.itertuples(index=False)}
        found[name] = {id: f"{id}@{name}" for id, arm in own.items() if taken.get(id, arm) != arm}
        taken |= {id: arm for id, arm in own.items() if id not in taken}
    return found


def _with_ids(table: pd.DataFrame, ids: Mapping[str, str]) -> pd.DataFrame:
    return table.assign(trial_id=table["trial_id"].map(lambda id: ids.get(id, id))) if ids else table


def metrics_apart(runs: Mapping[str, Results]) -> dict[str, set[str]]:
    """Run -> metrics that it measured otherwise than an earlier one: columns of the protocol that are constant in each differ."""
    protocols: dict[str, Any] = {}
    found: dict[str, set[str]] = {}
    for name, run in runs.items():
        members, roles = run.frames.members, run.frames.roles
        columns = [column for column in members if roles.get(str(column)) == "protocol" and "." in str(column)]
        own = {str(c): members[c].dropna().iloc[0] for c in columns if members[c].dropna().nunique() == 1}
        found[name] = {c.partition(".")[0] for c, value in own.items() if protocols.get(c, value) != value}
        protocols = own | protocols
    return found


def of_metric(column: str, metrics: set[str]) -> bool:
    """Whether a column is of one of the metrics."""
    return column.partition(".")[0] in metrics


def stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all tables under the columns of all; columns without a value in a table do not decide their type."""
    columns = dict.fromkeys(column for table in tables for column in table)
    there = [table.dropna(axis="columns", how="all") for table in tables if len(table)]
    if not there:
        return tables[0]
    return pd.concat(there, ignore_index=True).reindex(columns=list(columns))


def pooled_space(
    runs: Mapping[str, Results], called: Mapping[str, Mapping[str, str]], *, asks_reference: bool
) -> dict[str, Any]:
    """The space.json of several runs as one: their arms, and the first one's baseline, reference and placebo."""
    arms: dict[str, dict[str, Any]] = {}
    for name, run in runs.items():
        for entry in run.space.get("arms") or ():
            own = called[name]
            other = {"name": own[entry["name"]], "matched_by": own.get(entry.get("matched_by") or "")}
            arms.setdefault(own[entry["name"]], entry | other)
    first_name, first = next(iter(runs.items()))
    designs = [run.asked.design for run in runs.values() if run.asked.design is not None]
    roles = {
        role: called[first_name].get(first.space.get(role) or "") if asks_reference else None
        for role in ("baseline", "reference", "placebo")
    }
    selected = {
        called[name][arm]: chosen
        for name in reversed(list(runs))
        for arm, chosen in runs[name].asked.selected_configurations.items()
    }
    return {
        **first.space,
        **roles,
        "name": " and ".join(runs),
        "question": "; ".join(dict.fromkeys(run.asked.question for run in runs.values())),
        "arms": list(arms.values()),
        "selected": selected,
        "confirm_blocks": max(design.confirm_blocks for design in designs),
        "block_seeds": max(design.block_seeds for design in designs),
        **{"rows": [], "differs": [], "extended": [], "hash": None, "code": {}, "resolved": {}},
    }

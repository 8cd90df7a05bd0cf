"""How far a run is, from its files alone; looked at again at the cost of what is new."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tune_lb.cli.runs import space_of_run
from tune_lb.errors import RequestError
from tune_lb.results.code_versions import counts
from tune_lb.results.columns import FINISHED, LENT, OLD_STAGES, STAGES
from tune_lb.results.ledger import Ledger
from tune_lb.results.lock import Holder, holder
from tune_lb.results.merger import Merger, trial_stems
from tune_lb.results.run_files import of_old_design, read_members, read_space
from tune_lb.results.stopped import looks_passed, loss_columns, waiting
from tune_lb.results.storage import Store

COLUMNS = ("arm", "stage", "status", "trial_id", "seed", "finished_at", "error", "validation_loss", "validation_error")

PACE_S = 300.0
"""The pace is that of the members that ended in this time before now."""


@dataclass(frozen=True)
class Look:
    """A run at one moment."""

    known: Mapping[str, Any]
    """Its space.json."""
    stages: tuple[str, ...]
    arms: list[dict[str, Any]]
    """Of each arm: members done and expected by stage, diverged and failed ones, and the best of its search."""
    rows: list[dict[str, Any]]
    other_code: int
    """Members that were trained with code that has changed since."""
    last_activity: str | None
    searching: Holder | None
    problems: list[str]

    @property
    def finished(self) -> bool:
        """Whether every arm has the members that it is confirmed by."""
        totals = [(arm["confirm"]["done"], arm["confirm"]["total"]) for arm in self.arms]
        return all(total is not None and done >= total for done, total in totals)

    @property
    def best(self) -> str:
        """The column by which configurations of a search are told apart, as far as they are shown."""
        return "validation_error" if self.known.get("select_by") == "error" else "validation_loss"

    def failures(self) -> dict[tuple[str, str], int]:
        """Return how many members failed, by arm and the last line of the reason."""
        failed = [row for row in self.rows if row["status"] not in FINISHED]
        return dict(Counter((row["arm"], str(row["error"]).strip().splitlines()[-1]) for row in failed))

    def members(self) -> tuple[int, int | None]:
        """Return how many members are there and how many there will be, None where that is not known."""
        stages = [arm[stage] for arm in self.arms for stage in self.stages]
        totals = [stage["total"] for stage in stages if stage["total"] is not None]
        total = None if any(arm["confirm"]["total"] is None for arm in self.arms) else sum(totals)
        return sum(stage["done"] for stage in stages), total

    def left_s(self) -> float | None:
        """Return about how long it goes on at the pace of the last minutes; None where none can be seen."""
        done, total = self.members()
        ages = sorted(age for row in self.rows if (age := age_s(row["finished_at"])) is not None and age < PACE_S)
        if self.searching is None or total is None or len(ages) < 3:
            return None
        return max(0.0, (total - done) * ages[-1] / len(ages))


class Standing:
    """The members and events of a run, brought up to date at each look."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.merger = Merger(store)
        self.ledger = Ledger(store.child("ledger"))

    def look(self) -> Look:
        """Return where the run stands. Raises RequestError where it has no usable space.json."""
        known = read_space(self.store)
        members, problems = self._members()
        events = self.ledger.events()
        looks = loss_columns(members.schema.names)
        columns = [name for name in (*COLUMNS, "code", *looks) if name in members.schema.names]
        every = members.select(columns).to_pylist()
        rows = [row for row in every if counts(row, known.get("code", {}))]
        stages: tuple[str, ...] = OLD_STAGES if of_old_design(known) else STAGES
        if any(row["stage"] == LENT for row in rows):
            stages = (*stages[:-1], LENT, stages[-1])
        confirmed = _confirmed(self.store, known)
        arms = [_arm(arm, known, rows, stages, confirmed.get(arm["name"])) for arm in known["arms"]]
        times = [row["finished_at"] for row in rows if row["finished_at"]] + [event.time for event in events]
        problems = problems + self.ledger.problems
        others = len(every) - len(rows)
        last = max(times, default=None)
        return Look(known, stages, arms, rows, others, last, holder(self.store), problems)

    def _members(self) -> tuple[pa.Table, list[str]]:
        if not trial_stems(self.store):
            return read_members(self.store)
        self.merger.add_new()
        return self.merger.table(), self.merger.problems


def age_s(time: str | None) -> float | None:
    """Return how long ago a time was (ISO 8601, UTC where it does not say), in seconds; None for none."""
    if time is None:
        return None
    then = datetime.fromisoformat(time)
    return max(0.0, (datetime.now(UTC) - (then if then.tzinfo else then.replace(tzinfo=UTC))).total_seconds())


def _arm(
    arm: Mapping[str, Any],
    known: Mapping[str, Any],
    rows: list[dict[str, Any]],
    stages: Sequence[str],
    confirmed: int | None,
) -> dict[str, Any]:
    """Return members done and expected by stage."""
    own = [row for row in rows if row["arm"] == arm["name"]]
    done = Counter(row["stage"] for row in own if row["status"] in FINISHED)
    shares = (known.get("stopping") or {}).get("looks") or ()
    if shares:
        # one that may go on counts by what it was trained so far
        passed = [looks_passed(row) for row in own if (row["trial_id"], row["seed"]) in waiting(own)]
        done["search"] -= math.ceil(sum(1.0 - shares[number - 1] for number in passed) - 1e-9)
    total = _expected(arm, known, confirmed)
    statuses = Counter(row["status"] for row in own)
    failed = sum(number for status, number in statuses.items() if status not in FINISHED)
    found = {stage: {"done": done[stage], "total": total.get(stage)} for stage in stages}
    return {"arm": arm["name"], **found, "diverged": statuses["diverged"], "failed": failed}


def _confirmed(store: Store, known: Mapping[str, Any]) -> dict[str, int]:
    """Return how many confirm members each arm is known to need, of a run that goes on until differences are known."""
    if of_old_design(known) or isinstance(known["confirm_blocks"], int):
        return {}
    from tune_lb.tuning.replay import replayed_run

    try:
        state = replayed_run(store, space_of_run(known), known)
    except RequestError:
        return {}  # its space has changed or is gone; what is there is counted all the same
    return {arm: state.expected(arm)["confirm"] for arm in state.arms}


def _expected(arm: Mapping[str, Any], known: Mapping[str, Any], confirmed: int | None) -> dict[str, int | None]:
    samples = arm["num_samples"] if arm["dimensions"] else 0
    if of_old_design(known):
        # which were rescreened was known only when the search stage was done
        splits = len(known["split_seeds"])
        searched = samples * known["seeds"] * splits
        confirmed = known["confirm_seeds"] * splits
        return {"search": searched, "rescreen": None if searched else 0, "confirm": confirmed}
    samples = samples if samples > 1 else 0
    kept = min(known["candidates"], samples)
    if isinstance(known["confirm_blocks"], int):
        confirmed = known["confirm_blocks"] * known["block_seeds"]
    return {"search": samples, "decide": kept * known["decide_blocks"] if kept > 1 else 0, "confirm": confirmed}

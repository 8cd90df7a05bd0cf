"""Snapshots: how far a search is, and how long it will take still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tune_lb.preparation import Prepared
from tune_lb.search import ArmProgress, Search


@dataclass(frozen=True)
class Snapshot:
    """How far a search is."""

    elapsed_s: float
    left_s: float | None
    members_done: int
    members_total: int
    running: int
    failed: int
    arms: list[ArmProgress]


def snapshot(state: Search, prepared: Prepared, elapsed_s: float, cost_before: float) -> Snapshot:
    """Return how far a search is, from its state, the time it runs, and the cost of what was there before (see core_s)."""
    arms = state.progress()
    left, spent = core_s(prepared, arms, left=True), core_s(prepared, arms, left=False) - cost_before
    # the timed estimate at first, then the pace seen
    started = spent > 0.05 * (left + spent)
    left_s = left * elapsed_s / spent if started else left / prepared.estimate.concurrency
    done, total = sum(arm.done for arm in arms), sum(arm.total for arm in arms)
    return Snapshot(elapsed_s, left_s, done, total, len(state.running), len(state.failed), arms)


def core_s(prepared: Prepared, arms: Sequence[ArmProgress], *, left: bool) -> float:
    """Return the estimated time of one worker for the members still to be trained, or for those that are there."""
    cost = {row.arm: row.core_s / max(1, row.members) for row in prepared.estimate.arms}
    return sum(cost[arm.name] * (arm.total - arm.done if left else arm.done) for arm in arms)


def selected_trials(state: Search) -> dict[str, dict[str, str]]:
    """Return the trial_id selected so far, by arm and split seed."""
    found: dict[str, dict[str, str]] = {}
    for arm, split_seed in state.cells:
        chosen = state.selected(arm, split_seed)
        if chosen is not None:
            found.setdefault(arm, {})[str(split_seed)] = chosen.trial_id
    return found

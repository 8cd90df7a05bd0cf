"""Snapshots: how far a search is, and how long it will take still."""

from __future__ import annotations

from dataclasses import dataclass

from tune_lb.preparation import Prepared
from tune_lb.search import ArmProgress, Search
from tune_lb.time_left import TimeLeft


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


def snapshot(state: Search, prepared: Prepared, elapsed_s: float, time_left: TimeLeft) -> Snapshot:
    """Return how far a search is, from its state and the time it runs."""
    arms = state.progress()
    cost = {row.arm: row.core_s / max(1, row.members) for row in prepared.estimate.arms}
    running = {key: cost[job.arm] * len(job.seeds) for key, job in state.running.items()}
    left_s = time_left(elapsed_s, running, sum(cost[arm.name] * (arm.total - arm.done) for arm in arms))
    done, total = sum(arm.done for arm in arms), sum(arm.total for arm in arms)
    return Snapshot(elapsed_s, left_s, done, total, len(state.running), len(state.failed), arms)


def selected_trials(state: Search) -> dict[str, dict[str, str]]:
    """Return the trial_id selected so far, by arm and split seed."""
    found: dict[str, dict[str, str]] = {}
    for arm, split_seed in state.cells:
        chosen = state.selected(arm, split_seed)
        if chosen is not None:
            found.setdefault(arm, {})[str(split_seed)] = chosen.trial_id
    return found

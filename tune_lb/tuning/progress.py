"""How far a search is, and how long it will take still."""

from __future__ import annotations

from dataclasses import dataclass

from tune_lb.search.arm_progress import ArmProgress
from tune_lb.search.planner import Search
from tune_lb.tuning.preparation import Prepared
from tune_lb.tuning.time_left import TimeLeft


@dataclass(frozen=True)
class SearchProgress:
    """How far a search is."""

    elapsed_s: float
    left_s: float | None
    members_done: int
    members_total: int
    running: int
    failed: int
    arms: list[ArmProgress]
    best: str = "best validation loss"
    """What is shown of the best configuration of a search."""
    in_percent: bool = False


def search_progress(state: Search, prepared: Prepared, elapsed_s: float, time_left: TimeLeft) -> SearchProgress:
    """Return how far a search is, from its state and the time it runs."""
    arms = state.progress()
    cost = {row.arm: row.core_s / max(1, row.members) for row in prepared.estimate.arms}
    running = {key: cost[job.arm] * len(job.members) for key, job in state.running.items()}
    left_s = time_left(elapsed_s, running, sum(cost[arm.name] * (arm.total - arm.done) for arm in arms))
    done, total = sum(arm.done for arm in arms), sum(arm.total for arm in arms)
    space, title = prepared.request.space, prepared.context.error or "error"
    by_loss = space.select_by != "error"
    in_percent = not by_loss and (space.error is None or space.error.is_share)
    best = "best validation loss" if by_loss else f"best validation {title}"
    return SearchProgress(elapsed_s, left_s, done, total, len(state.running), len(state.failed), arms, best, in_percent)

"""How far a search is, and how long it will take still."""

from __future__ import annotations

from dataclasses import dataclass

from tune_lb.search.arm_progress import ArmProgress
from tune_lb.search.job import Job
from tune_lb.search.planner import Search
from tune_lb.tuning.cost_estimate import ArmEstimate
from tune_lb.tuning.cost_estimate import left_s as work_left_s
from tune_lb.tuning.preparation import Prepared
from tune_lb.tuning.run_context import RunContext
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
    cut: tuple[str, ...] = ()
    """What was cut so far to end in time."""


def search_progress(state: Search, prepared: Prepared, elapsed_s: float, time_left: TimeLeft) -> SearchProgress:
    """Return how far a search is, from its state and the time it runs."""
    arms = state.progress()
    costs, space = {row.arm: row for row in prepared.estimate.arms}, prepared.request.space
    running = {key: work_s(costs[job.arm], job, prepared.context) for key, job in state.running.items()}
    left = sum(work_left_s(space, costs[arm.name], arm.left, arm.confirmed) for arm in arms)
    left_s = time_left(elapsed_s, running, left)
    done, total = sum(arm.done for arm in arms), sum(arm.total for arm in arms)
    title = prepared.context.error or "error"
    by_loss = space.select_by != "error"
    in_percent = not by_loss and (space.error is None or space.error.is_share)
    best = "best validation loss" if by_loss else f"best validation {title}"
    return SearchProgress(elapsed_s, left_s, done, total, len(state.running), len(state.failed), arms, best, in_percent)


def work_s(row: ArmEstimate, job: Job, context: RunContext) -> float:
    """Return what the members of a job are expected to take, those that are looked at with what that takes."""
    measured = sum(bool(context.metrics_of(job.stage, m.block, m.seed)) for m in job.members if not m.look)
    watched = sum(context.is_watched(job.stage, member.block) for member in job.members)
    trainings = sum(member.share for member in job.members)
    return trainings * row.member_s + measured * row.measuring_s + watched * row.watching_s

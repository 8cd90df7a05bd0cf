"""Checkpoints of members that wait for a look to be decided, and of those that do not go on."""

from __future__ import annotations

from tune_lb.results.storage import Store
from tune_lb.search.halving import stopped
from tune_lb.search.planner import Search
from tune_lb.tuning.siblings import Siblings


def forget_stopped(state: Search, run: Store) -> None:
    """Delete the checkpoints of members that were stopped: they do not go on. Cost: one listing, where any were."""
    names = [
        f"{Siblings((member,), watched=False).key}.safetensors"
        for arm in state.arms.values()
        if arm.is_searched
        for member in stopped(state, arm)
    ]
    checkpoints = run.child("checkpoints")
    there = set(checkpoints.list()) if names else set()
    for name in there.intersection(names):
        checkpoints.delete(name)

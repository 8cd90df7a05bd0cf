"""How far an arm of a search is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from tune_lb.search.candidates import Candidate, SearchedArm
from tune_lb.search.deciding import rank
from tune_lb.search.halving import State as Halved
from tune_lb.search.halving import share_done, trainings_left
from tune_lb.search.job import STAGES, Member, MemberKey
from tune_lb.search.score import Score


@dataclass(frozen=True)
class ArmProgress:
    """How far one arm is, in members; confirmed: those of the last stage.

    best: lowest validation loss (or error, where that selects) of its search. left: members that are left, in whole trainings; less
    than total - done where some are stopped early.
    """

    name: str
    role: str
    stage: str
    done: int
    total: int
    best: float | None
    confirmed: int = 0
    left: float = 0.0


class State(Halved, Protocol):
    """What must be known of a search: see tune_lb.search.planner.Search."""

    def wanted(self, arm: SearchedArm, *, now: bool) -> Iterator[tuple[str, Iterable[Member]]]:
        """Yield the members that an arm needs as far as that is known."""

    def searched_score(self, arm: SearchedArm, candidate: Candidate) -> Score | None:
        """Return the score of a configuration in the search."""

    def expected(self, arm: str) -> dict[str, int]:
        """Return how many members an arm will have in each stage."""


def arm_progress(state: State, arm: SearchedArm) -> ArmProgress:
    """Return how far an arm is. Of a search that stops configurations early, what is trained counts by its share."""
    design, done, seen = arm.design, dict.fromkeys(STAGES, 0), set[MemberKey]()
    for stage, members in state.wanted(arm, now=False):
        own = {member.key for member in members} - seen
        seen |= own
        done[stage] += sum(key in state.scores for key in own)
    total = state.expected(design.name)
    left = float(sum(total.values()) - sum(done.values()))
    if state.space.stopping is not None and arm.is_searched:
        done["search"] = math.floor(share_done(state, arm) + 1e-9)
        left = sum(total[s] - done[s] for s in STAGES if s != "search") + trainings_left(state, arm)
    stage = next((s for s in STAGES if done[s] < total[s]), "done")
    found = [state.searched_score(arm, c) for c in arm.candidates.values()] if arm.is_searched else []
    values = [rank(state.space.select_by, score)[0] for score in found if score is not None]
    best = min((value for value in values if math.isfinite(value)), default=None)
    numbers = sum(done.values()), sum(total.values()), best, done["confirm"], left
    return ArmProgress(design.name, design.role, stage, *numbers)

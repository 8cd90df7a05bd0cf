"""How many members a job holds: enough that handing it out costs little, few enough that all workers finish together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tune_lb.search.job import Job, Member

SHARES = 2
"""Jobs that each worker is to have of the work that is left."""


@dataclass(frozen=True)
class JobSize:
    """most: members of a job. of_arms: the same for arms whose members take long. workers: how many share the work.

    weigh: what a member of an arm takes, given arm, stage and member, in means of that arm's members.
    """

    most: int = 4
    of_arms: Mapping[str, int] = field(default_factory=dict)
    workers: int = 1
    weigh: Callable[[str, str, Member], float] = lambda arm, stage, member: 1.0

    def __call__(self, arm: str, left: int, ready: int) -> tuple[int, int]:
        """Return how many members of an arm the next job may hold, and how much they may weigh together.

        left: members that nobody has taken, of all arms. ready: those of them that could start now.
        """
        share = min(math.ceil(left / (SHARES * self.workers)), math.ceil(ready / self.workers))
        return max(1, min(self.most, self.of_arms.get(arm, self.most), share)), share

    def job(self, arm: str, stage: str, members: Sequence[Member], size: int, share: float) -> Job:
        """Return the job of as many of an arm's next members, of one stage, as it may hold: see __call__, and `cut`."""
        weights = itertools.accumulate(self.weigh(arm, stage, member) for member in members)
        light = sum(weight <= max(share, 1.0) for weight in weights)
        return Job(arm, stage, cut(members, max(1, min(size, light))))


def cut(members: Sequence[Member], size: int) -> tuple[Member, ...]:
    """Return the first members, at most `size`; those of one trial stay together where another trial comes before them."""
    found = list(members[:size])
    if len(members) > size and members[size].trial_id == found[-1].trial_id:
        whole = [member for member in found if member.trial_id != found[-1].trial_id]
        found = whole or found
    return tuple(found)

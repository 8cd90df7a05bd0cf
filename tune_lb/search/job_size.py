"""How many members a job holds: enough that handing it out costs little, few enough that all workers finish together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tune_lb.search.job import Member

SHARES = 2
"""Jobs that each worker is to have of the work that is left."""


@dataclass(frozen=True)
class JobSize:
    """most: members of a job. of_arms: the same for arms whose members take long. workers: how many share the work."""

    most: int = 4
    of_arms: Mapping[str, int] = field(default_factory=dict)
    workers: int = 1

    def __call__(self, arm: str, left: int, ready: int) -> int:
        """Return how many members of an arm the next job may hold.

        left: members that nobody has taken, of all arms. ready: those of them that could start now.
        """
        share = min(math.ceil(left / (SHARES * self.workers)), math.ceil(ready / self.workers))
        return max(1, min(self.most, self.of_arms.get(arm, self.most), share))


def cut(members: Sequence[Member], size: int) -> tuple[Member, ...]:
    """Return the first members, at most `size`; those of one trial stay together where another trial comes before them."""
    found = list(members[:size])
    if len(members) > size and members[size].trial_id == found[-1].trial_id:
        whole = [member for member in found if member.trial_id != found[-1].trial_id]
        found = whole or found
    return tuple(found)

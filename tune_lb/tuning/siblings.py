"""Siblings: members of a job that are of one trial, and which of them one Training trains."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tune_lb.search.job import Member
from tune_lb.training.trial import Trial

LARGEST = 8
"""Most siblings of a Training."""


@dataclass(frozen=True)
class Siblings:
    """Members of one trial, which differ in their seeds, for one Training.

    watched: whether they are looked at meanwhile. keeps: whether their weights are kept after the watch's epochs.
    """

    members: tuple[Member, ...]
    watched: bool
    keeps: bool = False

    @property
    def trial(self) -> Trial:
        """Return the trial of all of them."""
        return self.members[0].trial

    @property
    def seeds(self) -> list[int]:
        """Return their seeds."""
        return [member.seed for member in self.members]

    @property
    def key(self) -> str:
        """Return the name of their checkpoint: a hash of the members, whatever job holds them."""
        text = " ".join(f"{member.trial_id}.{member.seed}" for member in self.members)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def siblings_of(
    members: Iterable[Member],
    is_watched: Callable[[Member], bool],
    is_kept: Callable[[Member], bool] = lambda member: False,
) -> list[Siblings]:
    """Return the members of a job as siblings, in the order of their trials. The one place where members become Trainings.

    A member that takes from another arm has a trial of its own, once that is made whole, and no siblings.
    """
    found: dict[tuple[str, bool, bool, int], list[Member]] = {}
    for member in members:
        own_seed = member.seed if member.lenders else 0
        found.setdefault((member.trial_id, is_watched(member), is_kept(member), own_seed), []).append(member)
    return [
        Siblings(tuple(own[start : start + LARGEST]), watched, keeps)
        for (_, watched, keeps, _), own in found.items()
        for start in range(0, len(own), LARGEST)
    ]

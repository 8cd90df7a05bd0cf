"""Stacks: the members of a job that one Training trains."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tune_lb.search.job import Member
from tune_lb.training.trial import Trial

LARGEST = 8
"""Most members of a stack."""


@dataclass(frozen=True)
class Stack:
    """Members that are trained together. watched: whether they are looked at while they train."""

    members: tuple[Member, ...]
    watched: bool

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
        """Return the name of its checkpoint: a hash of its members, whatever job holds them."""
        text = " ".join(f"{member.trial_id}.{member.seed}" for member in self.members)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def stacks(members: Iterable[Member], is_watched: Callable[[Member], bool]) -> list[Stack]:
    """Return the members of a job in the stacks that are each trained by one Training.

    The one place where members become trainings. A Training has one trial, so a stack holds members of one trial (and with it of
    one split) that differ in their seeds; members of several trials that share a program would be stacked here.
    """
    found: dict[tuple[str, bool], list[Member]] = {}
    for member in members:
        found.setdefault((member.trial_id, is_watched(member)), []).append(member)
    return [
        Stack(tuple(own[start : start + LARGEST]), watched)
        for (_, watched), own in found.items()
        for start in range(0, len(own), LARGEST)
    ]

"""Jobs: members that one worker trains, and the stages and blocks that they are trained for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tune_lb.training.trial import Trial

STAGES = ("search", "decide", "lent", "confirm")
"""lent: an arm's one configuration, in the blocks in which arms that take from it search and decide."""

MemberKey = tuple[str, int]
"""(trial_id, seed): what tells a member from every other of the run."""


@dataclass(frozen=True)
class Member:
    """One training of a job: a trial with a seed, in a block of the job's stage (see tune_lb/search/blocks.py)."""

    trial: Trial
    trial_id: str
    seed: int
    block: int = 0
    values: Mapping[str, Any] = field(default_factory=dict, compare=False)
    configuration_id: str = field(default="", compare=False)
    lenders: Mapping[str, Member] = field(default_factory=dict, compare=False)
    """By arm the members of other arms that its trial takes from, of the same block and seed; trained before it."""
    look: int = 0
    """The look, from 1, at which this training of it ends, to go on later or not (tune_lb.space.halving); 0: its end."""
    share: float = field(default=1.0, compare=False)
    """How much of the whole training this is."""

    @property
    def key(self) -> MemberKey:
        """Return what tells it from every other member of the run."""
        return self.trial_id, self.seed


@dataclass(frozen=True)
class Job:
    """Members of one arm and stage, of several trials, to be trained by one worker."""

    arm: str
    stage: str
    members: tuple[Member, ...]

    @property
    def key(self) -> str:
        """Return a hash of its members: the name of its files, and what tells it from every other job of the run."""
        text = " ".join(f"{m.trial_id}.{m.seed}{f' look {m.look}' if m.look else ''}" for m in self.members)
        return hashlib.sha256(f"{self.stage} {text}".encode()).hexdigest()[:16]

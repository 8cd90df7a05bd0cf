"""What arms lend each other: which members one waits for, and where an arm is trained for others beside."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from tune_lb.search.blocks import Block
from tune_lb.search.candidates import Candidate
from tune_lb.search.job import Member, MemberKey
from tune_lb.search.score import Score
from tune_lb.training.taking import taken_by


class State(Protocol):
    """What a search says of itself."""

    scores: dict[MemberKey, Score]
    failed: dict[MemberKey, str]

    def selected(self, arm: str) -> Candidate | None:
        """Return the configuration that stands for an arm."""
        ...


def with_lenders(state: State, member: Member) -> Member | None:
    """Return a member with those that it takes from: of their arms' one configuration, in the same block, with the same seed.

    None while one of them is to be trained. One that failed left nothing, which is said where its taker is to begin.
    """
    found = {}
    for arm in sorted({taken.arm for taken in taken_by(member.trial)}):
        chosen = state.selected(arm)
        if chosen is None:
            return None
        (lender,) = chosen.members(Block(member.block, member.trial.split_seed, (member.seed,)))
        if lender.key not in state.scores and lender.key not in state.failed:
            return None
        found[arm] = lender
    return dataclasses.replace(member, lenders=found) if found else member

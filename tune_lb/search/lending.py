"""What arms lend each other: which members one waits for, and where an arm is trained for others beside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from tune_lb.search.blocks import Block, blocks
from tune_lb.search.candidates import Candidate, SearchedArm
from tune_lb.search.job import Member, MemberKey
from tune_lb.search.score import Score
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.space.taking import lenders_of
from tune_lb.training.taking import taken_by


class State(Protocol):
    """What a search says of itself."""

    space: Space
    fresh: bool
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


def members_to_lend(state: State, arm: SearchedArm, chosen: Candidate) -> list[Member]:
    """Return the members of an arm's one configuration in the blocks in which arms that take from it search and decide."""
    found: list[Member] = []
    for stage, placebo in arm.design.lent:
        count = 1 if stage == "search" else state.space.decide_blocks
        for block in blocks(stage, count, fresh_splits=state.fresh, placebo=placebo):
            found += chosen.members(block)
    return found


def blocks_to_lend(wanted: Mapping[str, int], designs: Sequence[ArmDesign]) -> dict[str, int]:
    """Return in how many blocks arms are confirmed where each has as many as those that take from it."""
    found = dict(wanted)
    for arm, number in wanted.items():
        for lender in lenders_of(arm, designs):
            found[lender] = max(found[lender], number)
    return found

"""Which configurations of an arm's search go on, and how far they are to be trained: rungs of successive halving."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from tune_lb.samplers.sampler import Scores, Stopped
from tune_lb.search.candidates import Candidate, SearchedArm
from tune_lb.search.deciding import rank
from tune_lb.search.job import Member, MemberKey
from tune_lb.search.score import Score
from tune_lb.space.space import Space

FAILED = (math.inf, math.inf, 1.0)
"""What a configuration is ranked by whose member failed: behind every one that diverged."""

Rank = tuple[float, ...]


class Rung(NamedTuple):
    """look: the number of the look that comes next, from 1; 0: the end. going_on: indices of configurations that go on to it."""

    look: int
    going_on: list[int]


def rung(number: int, going_on: Sequence[int], known: Callable[[int, int], Rank | None]) -> Rung:
    """Return where the search of so many configurations is.

    going_on: how many go on after each look. known: of index and look what the configuration is ranked by there, lower is better;
    None: not trained so far yet. Equal ones go on by their index. All are waited for: no order of arrival matters.
    """
    left = list(range(number))
    for look, keep in enumerate(going_on, 1):
        found = [(known(index, look), index) for index in left]
        ranked = sorted((value, index) for value, index in found if value is not None)
        if len(ranked) < len(left):
            return Rung(look, left)
        left = sorted(index for _, index in ranked[:keep])
    return Rung(0, left)


class State(Protocol):
    """What must be known of a search: see tune_lb.search.planner.Search."""

    space: Space
    scores: dict[MemberKey, Score]
    looked: dict[MemberKey, Score]
    failed: dict[MemberKey, str]

    def members(self, arm: str, stage: str, candidate: Candidate) -> list[Member]:
        """Return the members of a configuration in a stage."""

    def chance(self, candidate: Candidate) -> float:
        """Return the loss of a guess."""

    def rung(self, arm: SearchedArm) -> Rung:
        """Return where the search of an arm is."""


def rung_of(state: State, arm: SearchedArm) -> Rung:
    """Return where an arm's search is; without stopping, on the way to the end with all of its configurations."""
    stopping = state.space.stopping
    if stopping is None:
        return Rung(0, list(range(arm.num_samples)))
    return rung(
        arm.num_samples,
        stopping.going_on(arm.num_samples, state.space.candidates),
        lambda index, look: rank_at(state, arm, index, look),
    )


def rank_at(state: State, arm: SearchedArm, index: int, look: int) -> Rank | None:
    """Return what a configuration is ranked by at a look; one that ended before it (diverged) by what it ended with."""
    candidate = arm.candidates.get(index)
    if candidate is None:
        return None
    (member,) = state.members(arm.design.name, "search", candidate)
    score = score_at(state.looked.get(member.key), state.scores.get(member.key), look)
    if score is None:
        return FAILED if member.key in state.failed else None
    found = rank(state.space.select_by, clipped(score, state.chance(candidate)))
    # a loss that is no number, of a network that did not diverge in training, is as bad as one that did
    return (*(math.inf if math.isnan(value) else value for value in found), 0.0)


def score_at(looked: Score | None, whole: Score | None, look: int) -> Score | None:
    """Return the score at a look, from what was seen last of a member at a look and at its end."""
    for score in (looked, whole):
        if score is not None and len(score.looks) >= look:
            loss, error = score.looks[look - 1]
            return Score(loss, error)
    return whole


def clipped(score: Score, chance: float) -> Score:
    """Return a score whose loss is at most that of a guess; a diverged member's stays infinite."""
    return score._replace(loss=min(score.loss, chance)) if math.isfinite(score.loss) else score


def searched_members(state: State, arm: SearchedArm, proposal: Callable[[int], Candidate | None]) -> Iterator[Member]:
    """Yield the members of an arm's search that are wanted, trained or not, with how far they are to be trained."""
    now = state.rung(arm)
    for index in now.going_on:
        candidate = proposal(index)
        if candidate is not None:
            for member in state.members(arm.design.name, "search", candidate):
                yield to_look(member, now.look, state.space) if state.space.stopping is not None else member


def to_look(member: Member, look: int, space: Space) -> Member:
    """Return a member that is to be trained to a look (0: to its end), from the look before."""
    looks = space.stopping.looks if space.stopping is not None else ()
    before = ((0.0, *looks)[look - 1]) if look else looks[-1] if looks else 0.0
    return dataclasses.replace(member, look=look, share=(looks[look - 1] if look else 1.0) - before)


def num_there(state: State) -> int:
    """Return how many members are there, those that were stopped early among them."""
    return len(state.scores.keys() | state.looked.keys())


def lost(state: State, scores: Mapping[MemberKey, Score]) -> set[MemberKey]:
    """Return the members that were trained farther than these scores say."""
    known = state.looked | state.scores
    return {k for k, score in known.items() if k not in scores or (score.is_whole and not scores[k].is_whole)}


def is_there(state: State, member: Member) -> bool:
    """Say whether a member is trained as far as it is wanted, or cannot be."""
    looked = state.looked.get(member.key)
    reached = bool(member.look) and looked is not None and len(looked.looks) >= member.look
    return reached or member.key in state.scores or member.key in state.failed


def stopped(state: State, arm: SearchedArm) -> list[Member]:
    """Return the members of an arm's search that were stopped: they do not go on, and are not trained in full."""
    if state.space.stopping is None:
        return []
    left = set(state.rung(arm).going_on)
    dropped = (candidate for index, candidate in arm.candidates.items() if index not in left)
    found = [m for candidate in dropped for m in state.members(arm.design.name, "search", candidate)]
    return [member for member in found if member.key in state.looked and member.key not in state.scores]


def trainings_left(state: State, arm: SearchedArm) -> float:
    """Return what an arm's search has still to train, in whole trainings."""
    now, stopping = state.rung(arm), state.space.stopping
    looks = stopping.looks if stopping is not None else ()
    shares = [after - before for before, after in itertools.pairwise((0.0, *looks, 1.0))]
    later = stopping.going_on(arm.num_samples, state.space.candidates) if stopping is not None else ()
    place = now.look - 1 if now.look else len(looks)
    waiting = 0
    for index in now.going_on:
        candidate = arm.candidates.get(index)
        members = [] if candidate is None else state.members(arm.design.name, "search", candidate)
        waiting += candidate is None or not all(is_there(state, to_look(m, now.look, state.space)) for m in members)
    return waiting * shares[place] + sum(n * s for n, s in zip(later[place:], shares[place + 1 :], strict=True))


def share_done(state: State, arm: SearchedArm) -> float:
    """Return how much of an arm's search is done, in configurations: one that was stopped counts as one."""
    stopping, total = state.space.stopping, float(len(stopped(state, arm)))
    for index in state.rung(arm).going_on:
        candidate = arm.candidates.get(index)
        for member in state.members(arm.design.name, "search", candidate) if candidate is not None else ():
            looked = state.looked.get(member.key)
            if member.key in state.scores:
                total += 1.0
            elif looked is not None and stopping is not None and looked.looks:
                total += stopping.looks[len(looked.looks) - 1]
    return total


def told(
    state: State, arm: SearchedArm, whole: Mapping[int, Scores]
) -> list[tuple[dict[str, object], Scores | Stopped]]:
    """Return what a sampler that learns is told, by configuration. whole: what it is told of those that are trained in full.

    Where configurations are stopped, a sampler that knows of that is told the last look of the others; any other sampler the first
    look of all of them, those that were trained in full too: only values of the same moment can be compared.
    """
    found: list[tuple[dict[str, object], Scores | Stopped]] = []
    for index, candidate in sorted(arm.candidates.items()):
        if state.space.stopping is None or (state.space.sampler.knows_stopped and index in whole):
            if index in whole:
                found.append((candidate.values, whole[index]))
            continue
        (member,) = state.members(arm.design.name, "search", candidate)
        looked, score = state.looked.get(member.key), state.scores.get(member.key)
        look = len(looked.looks) if looked is not None and state.space.sampler.knows_stopped else 1
        at = score_at(looked, score, look)
        if at is not None:
            value = rank(state.space.select_by, clipped(at, state.chance(candidate)))[0]
            found.append((candidate.values, Stopped(look, value) if state.space.sampler.knows_stopped else value))
    return found

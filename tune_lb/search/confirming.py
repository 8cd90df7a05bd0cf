"""How many blocks the arms of a search are confirmed in, where it is confirmed until differences are known."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tune_lb.inference.effects import differences, paired_t
from tune_lb.inference.looks import is_known, looks, obrien_fleming
from tune_lb.inference.selection_variance import FREEDOM, with_floor
from tune_lb.search.blocks import blocks
from tune_lb.search.candidates import Candidate, SearchedArm
from tune_lb.search.job import Member, MemberKey
from tune_lb.search.score import Score
from tune_lb.search.selection import variance_of_selection
from tune_lb.space.space import Space
from tune_lb.space.until import Until

POINT = 0.01
OUTSIDE = ("baseline", "reference", "placebo", "copied", "scaled", "compute_matched")
"""Roles of arms that nothing is claimed of: they are outside of the family."""


@dataclass(frozen=True)
class Confirming:
    """One arm's confirm stage, as far as it is trained.

    errors: (S, m) test errors of the first S blocks, by block and seed, nan where a member failed. selection: the variance of its
    selection, V.
    """

    errors: NDArray[np.float64]
    selection: float


def blocks_wanted(
    until: Until, reference: str, arms: Mapping[str, Confirming | None], family: Collection[str]
) -> dict[str, int]:
    """Return in how many blocks each arm is to be confirmed, as far as that is known: up to the next look, or where it stopped.

    arms: the reference among them; None for one of which nothing is known yet. family: the arms over which intervals are
    simultaneous, and looks are corrected. What is returned grows with what is trained, and never falls.
    """
    at = looks(until.max_blocks)
    levels = obrien_fleming(at) / max(1, len(family)) if until.early else np.zeros(len(at))
    own = arms.get(reference)
    known = all(arm is not None for arm in arms.values())
    found = {}
    for name, arm in arms.items():
        if name == reference:
            continue
        size = max(1, len(family)) if name in family else 1
        found[name] = at[0]
        for k, number in enumerate(at):
            found[name] = number
            # the floor of one arm's variance hangs on those of all
            if not known or arm is None or own is None or min(len(arm.errors), len(own.errors)) < number:
                break
            selection = arm.selection + own.selection
            effect = paired_t(differences(arm.errors[:number], own.errors[:number]), selection, size, FREEDOM)
            if is_known(effect.half_width, POINT * until.half_width, selection, size) or effect.p < levels[k]:
                break
    return {reference: max(found.values(), default=at[0]), **found}


class State(Protocol):
    """What must be known of a search: see tune_lb.search.planner.Search."""

    space: Space
    fresh: bool
    arms: dict[str, SearchedArm]
    scores: dict[MemberKey, Score]
    failed: dict[MemberKey, str]
    variances: dict[str, float]

    def selected(self, arm: str) -> Candidate | None:
        """Return the configuration that stands for the arm, once that is known."""

    def kept(self, arm: SearchedArm) -> list[Candidate] | None:
        """Return what is decided between."""

    def decide_scores(self, arm: SearchedArm, kept: Sequence[Candidate]) -> list[list[Score | None]]:
        """Return the scores that it is decided by."""

    def chance(self, candidate: Candidate) -> float:
        """Return the loss of a guess."""

    def members(self, arm: str, stage: str, candidate: Candidate) -> list[Member]:
        """Return the members of a configuration in a stage."""


def wanted_blocks(state: State, until: Until) -> dict[str, int]:
    """Return in how many blocks each arm of a search is to be confirmed: see blocks_wanted."""
    family = [name for name, arm in state.arms.items() if arm.design.role not in OUTSIDE]
    return blocks_wanted(until, str(state.space.reference), confirmings(state, until.max_blocks), family)


def confirmings(state: State, most: int) -> dict[str, Confirming | None]:
    """Return what the arms of a search have of their first confirm blocks; None for all while one has no configuration yet."""
    chosen = {name: state.selected(name) for name in state.arms}
    found = {name: candidate for name, candidate in chosen.items() if candidate is not None}
    if len(found) < len(chosen):
        return dict.fromkeys(chosen)
    for name, arm in state.arms.items():
        if name not in state.variances:
            state.variances[name] = _variance(state, arm)
    selection = _with_floor(state)
    return {name: Confirming(_errors(state, found[name], most), selection[name]) for name in found}


def _errors(state: State, candidate: Candidate, most: int) -> NDArray[np.float64]:
    """Return the test errors of a configuration in its first confirm blocks, those that are whole: (S, m), nan where one failed."""
    seeds = state.space.block_seeds
    found: list[list[float]] = []
    for block in blocks("confirm", most, seeds=seeds, fresh_splits=state.fresh):
        keys = [member.key for member in candidate.members(block)]
        if not all(key in state.scores or key in state.failed for key in keys):
            break
        found.append([state.scores[key].test_error if key in state.scores else math.nan for key in keys])
    return np.array(found, dtype=np.float64).reshape(-1, seeds)


def _variance(state: State, arm: SearchedArm) -> float:
    """Return V of an arm that searches; nan where it is not known."""
    kept = state.kept(arm) or []
    if not arm.is_searched or len(kept) < 2:
        return math.nan
    searched = [
        (candidate.values, state.scores.get(member.key))
        for candidate in arm.candidates.values()
        for member in state.members(arm.design.name, "search", candidate)
    ]
    table = state.decide_scores(arm, kept)
    values = [candidate.values for candidate in kept]
    chance = state.chance(kept[0])
    return variance_of_selection(arm.dimensions, searched, values, table, state.space.select_by, chance)


def _with_floor(state: State) -> dict[str, float]:
    """Return the variances that intervals have: with a floor for arms that search; a copied arm has its source's, others 0."""
    names = [name for name, arm in state.arms.items() if arm.is_searched]
    floored = with_floor(np.array([state.variances[name] for name in names]))
    found = dict(zip(names, map(float, floored), strict=True))
    return {name: found.get(arm.design.derived_from or name, 0.0) for name, arm in state.arms.items()}

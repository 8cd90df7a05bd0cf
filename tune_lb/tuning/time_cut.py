"""search --time-budget while it runs: what is cut where it turns out slower than it was timed, so that confirmation still fits.

The search stage gives way first, down to the configurations that some arm has begun with, so that every arm tries the same number;
then the decide blocks, where none is begun; then the confirm blocks, down to those that are begun (or FEWEST_BLOCKS).
What is cut hangs on the clock alone and on no result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tune_lb.search.planner import Search
from tune_lb.space.space import Space
from tune_lb.tuning.cost_estimate import Estimate, left_s

FEWEST_BLOCKS = 3
FEWEST_SEARCHED = 2
FEWEST_DECIDED = 2
CUT = ("num_samples", "decide_blocks", "confirm_blocks")
"""What is cut, in this order."""
CALLED = ("configurations are searched in an arm", "decide blocks", "confirm blocks")
LATE = 1.05
"""How much later than the deadline a search must be expected to end before anything is cut: what is left is an estimate."""


@dataclass(frozen=True)
class Cut:
    """A space with fewer members. said: what was cut, in a line."""

    space: Space
    said: str


def cut_to_fit(state: Search, estimate: Estimate, expected_s: float, there_s: float) -> Cut | None:
    """Return the largest search that is expected to end in time; None where the whole is, or nothing can be cut.

    expected_s: what the whole is expected to take from now on, at the pace that is seen; there_s: what there is.
    """
    if expected_s <= LATE * max(there_s, 0.0):
        return None
    space, work = state.space, work_left(state, estimate)
    if not isinstance(space.confirm_blocks, int) or work <= 0.0:
        return None

    most = (space.num_samples, space.decide_blocks, space.confirm_blocks)

    def smaller(*numbers: int) -> Space:
        return space.overridden(list(zip(CUT, numbers, strict=True)))

    def fits(*numbers: int) -> bool:
        return expected_s * work_left(moved(state, smaller(*numbers)), estimate) / work <= there_s

    samples, decide, blocks = most
    fewest = samples if space.sampler.enumerates else min(samples, max(FEWEST_SEARCHED, space.candidates, begun(state)))
    samples = _largest(fewest, samples, lambda number: fits(number, decide, blocks))
    if samples == fewest and not fits(samples, decide, blocks):
        decide = _largest(_fewest_decided(state), decide, lambda number: fits(samples, number, blocks))
    if samples == fewest and not fits(samples, decide, blocks):
        least = min(blocks, max(FEWEST_BLOCKS, 1 + _last_block(state, "confirm")))
        blocks = _largest(least, blocks, lambda number: fits(samples, decide, number))
    found = (samples, decide, blocks)
    if found == most:
        return None
    words = [f"{now} {what} in place of {was}" for now, was, what in zip(found, most, CALLED, strict=True) if now < was]
    late = "" if fits(*found) else "; it will take longer all the same"
    return Cut(smaller(*found), f"cut to end in time, being slower than timed: {', '.join(words)}{late}")


def _fewest_decided(state: Search) -> int:
    """Return in how many blocks it must be decided: in all where that is begun, for arms are decided in the same."""
    asked = state.space.decide_blocks
    return asked if state.space.candidates < 2 or _last_block(state, "decide") >= 0 else min(asked, FEWEST_DECIDED)


def moved(state: Search, space: Space) -> Search:
    """Return the search of a space that differs in numbers of members alone, at the point where another one is."""
    found = Search(space, state.facts, proposed=state.proposed, size=state.size)
    found.failed, found.running, found.busy = dict(state.failed), dict(state.running), set(state.busy)
    found.only, found.unrecorded = state.only, list(state.unrecorded)
    found.observe(state.looked | state.scores)
    return found


def work_left(state: Search, estimate: Estimate) -> float:
    """Return the work that a search has still to do, in estimated seconds of one worker."""
    costs = {row.arm: row for row in estimate.arms}
    arms = state.progress()
    return sum(left_s(state.space, costs[arm.name], max(0.0, arm.left), arm.confirmed) for arm in arms)


def begun(state: Search) -> int:
    """Return how many configurations the arm that is farthest has begun with in its search."""
    seen = state.scores.keys() | state.looked.keys() | state.failed.keys() | state.busy
    last = -1
    for name, arm in state.arms.items():
        if arm.is_searched:
            for index, candidate in arm.candidates.items():
                if index > last and any(member.key in seen for member in state.members(name, "search", candidate)):
                    last = index
    return last + 1


def _last_block(state: Search, stage: str) -> int:
    """Return the number of the last block of a stage that is begun in any arm, from 0; -1 for none."""
    seen = state.scores.keys() | state.failed.keys() | state.busy
    last = -1
    for name, arm in state.arms.items():
        chosen = state.selected(name) if stage == "confirm" else None
        of = (
            [chosen] if chosen is not None else (state.kept(arm) or []) if stage == "decide" and arm.is_searched else []
        )
        for candidate in of:
            for place, block in enumerate(state.blocks(name, stage)):
                if place > last and any(member.key in seen for member in candidate.members(block)):
                    last = place
    return last


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number from low to high that fits, where all below one that fits do; low where none does."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low

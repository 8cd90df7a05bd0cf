"""search --time-budget while it runs: what is cut where it turns out slower than it was timed, so that confirmation still fits.

The search stage gives way first, down to the configurations that some arm has begun with, so that every arm tries the same number;
then the confirm blocks, down to those that are begun, and FEWEST_BLOCKS. What is cut hangs on the clock alone and on no result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tune_lb.search.planner import Search
from tune_lb.space.space import Space
from tune_lb.tuning.cost_estimate import Estimate, left_s

FEWEST_BLOCKS = 3
FEWEST_SEARCHED = 2
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

    def fits(samples: int, blocks: int) -> bool:
        smaller = moved(state, space.overridden([("num_samples", samples), ("confirm_blocks", blocks)]))
        return expected_s * work_left(smaller, estimate) / work <= there_s

    samples, blocks = space.num_samples, space.confirm_blocks
    fewest = samples if space.sampler.enumerates else min(samples, max(FEWEST_SEARCHED, space.candidates, begun(state)))
    samples = _largest(fewest, samples, lambda number: fits(number, blocks))
    if samples == fewest and not fits(fewest, blocks):
        least = min(blocks, max(FEWEST_BLOCKS, 1 + _last_block(state)))
        blocks = _largest(least, blocks, lambda number: fits(samples, number))
    if (samples, blocks) == (space.num_samples, space.confirm_blocks):
        return None
    smaller = space.overridden([("num_samples", samples), ("confirm_blocks", blocks)])
    words = []
    if samples < space.num_samples:
        words.append(f"{samples} configurations are searched in an arm in place of {space.num_samples}")
    if blocks < space.confirm_blocks:
        words.append(f"{blocks} confirm blocks in place of {space.confirm_blocks}")
    late = "" if fits(samples, blocks) else "; it will take longer all the same"
    return Cut(smaller, f"cut to end in time, being slower than timed: {', '.join(words)}{late}")


def moved(state: Search, space: Space) -> Search:
    """Return the search of a space that differs in numbers of members alone, at the point where another one is."""
    found = Search(space, state.facts, proposed=state.proposed, size=state.size)
    found.failed, found.running, found.busy = dict(state.failed), dict(state.running), set(state.busy)
    found.only, found.unrecorded = state.only, list(state.unrecorded)
    found.observe(state.scores)
    return found


def work_left(state: Search, estimate: Estimate) -> float:
    """Return the work that a search has still to do, in estimated seconds of one worker."""
    costs = {row.arm: row for row in estimate.arms}
    arms = state.progress()
    return sum(left_s(state.space, costs[arm.name], max(0, arm.total - arm.done), arm.confirmed) for arm in arms)


def begun(state: Search) -> int:
    """Return how many configurations the arm that is farthest has begun with in its search."""
    seen = state.scores.keys() | state.failed.keys() | state.busy
    last = -1
    for name, arm in state.arms.items():
        if arm.is_searched:
            for index, candidate in arm.candidates.items():
                if index > last and any(member.key in seen for member in state.members(name, "search", candidate)):
                    last = index
    return last + 1


def _last_block(state: Search) -> int:
    """Return the number of the last confirm block that is begun in any arm; -1 for none."""
    seen = state.scores.keys() | state.failed.keys() | state.busy
    last = -1
    for name in state.arms:
        chosen = state.selected(name)
        if chosen is not None:
            members = state.members(name, "confirm", chosen)
            last = max([last, *(member.block for member in members if member.key in seen)])
    return last


def _largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number from low to high that fits, where all below one that fits do; low where none does."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low

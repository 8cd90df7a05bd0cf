"""How the members that an arm can have are divided between search, decision and confirmation."""

from __future__ import annotations

from typing import NamedTuple

from tune_lb.errors import RequestError

FEWEST = 6


class Division(NamedTuple):
    """The numbers of a procedure, under the names of a space's fields."""

    num_samples: int
    candidates: int
    decide_blocks: int
    confirm_blocks: int
    block_seeds: int

    @property
    def members(self) -> int:
        """Return the members of an arm: n + q r + S m, without q r where nothing is decided between."""
        decided = self.candidates * self.decide_blocks if self.candidates > 1 else 0
        return self.num_samples + decided + self.confirm_blocks * self.block_seeds


STUDIED = (
    Division(8, 2, 2, 8, 1),
    Division(16, 3, 4, 12, 1),
    Division(20, 4, 6, 20, 1),
    Division(24, 5, 6, 24, 1),
    Division(24, 5, 6, 38, 1),
)
"""Designs of 20, 40, 64, 78 and 92 members whose intervals cover and whose claims hold in a study of real members
(benchmarks/power.py)."""

DECIDED_FROM = 12
"""Members from which it is decided between candidates: below, the search's loss alone chooses, and nothing can be claimed."""


def divided(members: int) -> Division:
    """Return how an arm's members are best divided: as studied, and between and beyond that in proportion.

    All of them are used. Beyond the largest that was studied the search stays and decision and confirmation grow.
    Raises RequestError for fewer than FEWEST.
    """
    if isinstance(members, bool) or not isinstance(members, int):
        raise RequestError(f"members_per_arm = {members!r}: must be a whole number")
    if members < FEWEST:
        raise RequestError(
            f"members_per_arm = {members}: at least {FEWEST}: some to search with, and 3 blocks to confirm in"
        )
    known = [(studied.members, studied) for studied in STUDIED]
    exact = next((studied for number, studied in known if number == members), None)
    if exact is not None:
        return exact
    (low, before), (high, after) = _around(members)
    share = (members - low) / (high - low)
    samples, candidates, decide = (round(a + share * (b - a)) for a, b in zip(before[:3], after[:3], strict=True))
    if members < DECIDED_FROM:
        candidates = decide = 1
    used = samples + (candidates * decide if candidates > 1 else 0)
    # a block more is worth more than a second seed in one
    return Division(samples, candidates, decide, members - used, 1)


def _around(members: int) -> tuple[tuple[int, Division], tuple[int, Division]]:
    """Return the nearest numbers of members below and above with their divisions; ends that were not studied are in proportion."""
    last = STUDIED[-1]
    times = 1 + members // last.members
    beyond = last._replace(decide_blocks=last.decide_blocks * times)
    nothing = Division(2, 1, 1, 2, 1)
    points = [(4, nothing), *((studied.members, studied) for studied in STUDIED), (last.members * times, beyond)]
    above = next(i for i, (number, _) in enumerate(points) if number > members)
    return points[above - 1], points[above]

"""Configurations that are tried first, before a sampler's own."""

from __future__ import annotations

from collections.abc import Sequence

from tune_lb.samplers.sampler import Proposer, Scores, Values


class GivenFirst:
    """Proposes given values in the place of a sampler's first proposals, of which what is not given stays.

    The later ones are what they would be without: the i-th configuration of one arm stays that of every other.
    first: the number of the first proposal that is asked for.
    """

    def __init__(self, proposer: Proposer, given: Sequence[Values], first: int) -> None:
        self.proposer, self.given, self.first = proposer, list(given), first

    def propose(self, index: int, scored: Sequence[tuple[Values, Scores]]) -> Values:
        """Return the index-th proposal."""
        found = self.proposer.propose(index, scored)
        place = index - self.first
        return found | self.given[place] if 0 <= place < len(self.given) else found

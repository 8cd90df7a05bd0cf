"""Configurations that are tried first, before a sampler's own."""

from __future__ import annotations

from collections.abc import Sequence

from tune_lb.samplers.distinct import completed
from tune_lb.samplers.sampler import Dimensions, Proposer, Scores, Values


class GivenFirst:
    """Proposes given values in the place of a sampler's first proposals, of which what is not given stays.

    The later ones are what they would be without: the i-th configuration of one arm stays that of every other. Where what is
    given chooses another alternative than the sampler, numbers of it that neither has are drawn at random.
    """

    def __init__(self, proposer: Proposer, given: Sequence[Values], dimensions: Dimensions) -> None:
        self.proposer, self.given, self.first = proposer, list(given), dimensions.first
        self.domains = dict(dimensions.domains)

    def propose(self, index: int, scored: Sequence[tuple[Values, Scores]]) -> Values:
        """Return the index-th proposal."""
        found = self.proposer.propose(index, scored)
        place = index - self.first
        return completed(self.domains, found | self.given[place], index) if 0 <= place < len(self.given) else found

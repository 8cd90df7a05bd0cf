"""Every combination of listed values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tune_lb.samplers.sampler import Dimensions, Sampler, Scores, Values
from tune_lb.settings.domain import Choice, Domain


@dataclass(frozen=True)
class Grid(Sampler):
    """Every combination of the listed values, the last dimension fastest. Needs lists, not ranges."""

    name: ClassVar[str] = "grid"
    enumerates: ClassVar[bool] = True

    def proposer(self, dimensions: Dimensions) -> Combinations:
        """Return the arm's combinations."""
        return Combinations(dimensions)

    def domain_problems(self, domains: Mapping[str, Domain]) -> list[str]:
        """Refuse ranges."""
        return [
            f"sampler grid needs lists of values, {name} is the range {domain}"
            for name, domain in domains.items()
            if not isinstance(domain, Choice)
        ]


class Combinations:
    """The combinations of an arm, the first at proposal `first`."""

    def __init__(self, dimensions: Dimensions) -> None:
        self.names, self.first = list(dimensions.domains), dimensions.first
        self.rows = list(itertools.product(*(domain.to_check() for domain in dimensions.domains.values())))

    def propose(self, index: int, scored: Sequence[tuple[Values, Scores]]) -> Values:
        """Return the combination of the index-th proposal."""
        return dict(zip(self.names, self.rows[index - self.first], strict=True))

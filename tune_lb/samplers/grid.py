"""Every combination of listed values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tune_lb.samplers.sampler import Dimensions, Sampler, Scores, Values
from tune_lb.settings.active import cases
from tune_lb.settings.domain import Choice, Domain


@dataclass(frozen=True)
class Grid(Sampler):
    """Every combination of the listed values, the last dimension fastest. Needs lists, not ranges.

    Of a list of parts each is tried with the combinations of its own fields alone, the list slowest.
    """

    name: ClassVar[str] = "grid"
    conditional: ClassVar[bool] = True
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
        self.rows = [
            chosen | dict(zip(others, values, strict=True))
            for chosen, others in cases(dimensions.domains)
            for values in itertools.product(*(domain.to_check() for domain in others.values()))
        ]

    def propose(self, index: int, scored: Sequence[tuple[Values, Scores]]) -> Values:
        """Return the combination of the index-th proposal."""
        row = self.rows[index - self.first]
        return {name: row[name] for name in self.names if name in row}

"""What a sampler is: a setting of a space that says which configuration an arm tries next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

from tune_lb.settings.domain import Domain
from tune_lb.settings.setting import Settings

Values = dict[str, Any]
"""A configuration: a value for each dimension, by column name."""

Scores = float | tuple[float, ...]
"""What a configuration scored, lower is better: validation loss (or error, where that selects), or the objectives of the space,
several as a tuple. Infinite for a diverged one."""


@dataclass(frozen=True)
class Stopped:
    """What is known of a configuration that was not trained in full: its value at the look that it was last seen at, from 1."""

    look: int
    value: float


class Dimensions(NamedTuple):
    """What is searched in one arm."""

    arm: str
    domains: Mapping[str, Domain]
    columns: Sequence[str]
    """The dimensions of all arms, by name: what points are shared in."""
    seed: int
    """Of the space."""
    shares_points: bool
    """Whether the arm tries the points of the others; the placebo has its own."""
    first: int
    """Number of the first proposal that is asked for: those before it are taken from other arms."""
    objectives: int = 1
    """How many values a score has: with several, scores are tuples."""


class Proposer(Protocol):
    """Proposes configurations of one arm; a pure function of how many came before and what they scored."""

    def propose(self, index: int, scored: Sequence[tuple[Values, Any]]) -> Values:
        """Return values for the arm's dimensions: the index-th proposal, given the finished ones and their scores.

        Scores are `Scores`; of a sampler that knows_stopped, of configurations that are not trained in full, `Stopped`.
        """
        ...


@dataclass(frozen=True)
class Sampler(Settings):
    """Base of all samplers: `Space(sampler=Sobol())`. What is declared here is all that the search and the analysis ask.

    Where an arm's combinations can be counted, none is tried twice while one is untried (see samplers/distinct.py).
    A sampler of one's own is a frozen subclass in a file beside the space, with a name and a `proposer`.
    """

    name: ClassVar[str] = ""
    """How it is called on the command line and in space.json."""

    learns: ClassVar[bool] = False
    """Whether proposals depend on scores: they are then asked for as late as can be, and recorded before they are trained."""

    exchangeable: ClassVar[bool] = True
    """Whether configurations could have come in any order, so that the analysis may draw them again."""

    several: ClassVar[bool] = False
    """Whether one that learns can seek several objectives at once."""

    knows_stopped: ClassVar[bool] = False
    """Whether one that learns is told of configurations that were stopped early as such; else the first look of all is told."""

    conditional: ClassVar[bool] = False
    """Whether it knows dimensions that are there in some configurations alone (Domain.only)."""

    enumerates: ClassVar[bool] = False
    """Whether it goes through every combination of listed values: it then says itself how many there are."""

    def proposer(self, dimensions: Dimensions) -> Proposer:
        """Return what proposes configurations of the arm. Raises TypeError where the sampler does not say."""
        raise TypeError(f"sampler {type(self).__name__} does not say what it proposes")

    def domain_problems(self, domains: Mapping[str, Domain]) -> list[str]:
        """Say which domains it cannot propose values of."""
        return []

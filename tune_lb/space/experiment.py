"""Experiments: what a paper did, as it was published and at a size that runs on two cores, in one module."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tune_lb.errors import RequestError, nearest
from tune_lb.space.papers import SCALES
from tune_lb.space.space import Space


@dataclass(frozen=True)
class Experiment:
    """An experiment of a paper at two scales: SPACE = Experiment(...) in place of SPACE = Space(...).

    rows: the rows of the papers that it repeats (tune_lb.space.papers). small: reduced data, epochs, seeds or network, to run on
    two cores. paper: as published. differs and paper_differs: what is not as published, one line each, in small and in paper.
    cost and paper_cost: what a run takes, in words.
    """

    rows: tuple[str, ...]
    small: Space
    paper: Space
    differs: tuple[str, ...]
    cost: str
    paper_cost: str
    paper_differs: tuple[str, ...] = ()

    def at(self, scale: str) -> Space:
        """Return the space at one scale, with the rows that it repeats and what differs from them. Raises RequestError."""
        check_scale(scale)
        space, differs = (self.small, self.differs) if scale == "small" else (self.paper, self.paper_differs)
        return dataclasses.replace(space, rows=self.rows, differs=differs)


def check_scale(scale: str) -> None:
    """Raise RequestError for a word that is no scale."""
    if scale not in SCALES:
        raise RequestError(f"scale {scale!r}: there are {' and '.join(SCALES)}{nearest(scale, SCALES)}")

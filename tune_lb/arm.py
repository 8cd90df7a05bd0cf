"""Arms: the named settings that a search compares, as a space gives them and as they are run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tune_lb.domain import Domain
from tune_lb.remedy import Remedy
from tune_lb.trial import Trial


class Arm:
    """A named setting that is compared with the others: Arm("sam", SAM(rho=over(0.01, 0.5, log=True)), batch_size=400).

    Any field of a trial may be given and overrides the space's; combines names arms whose best configurations are tried
    first in this one (an arm that holds all their remedies), so that it is never worse for want of budget alone.
    """

    def __init__(self, name: str, *remedies: Remedy, combines: Sequence[str] = (), **settings: Any) -> None:
        self.name, self.remedies, self.combines, self.settings = name, remedies, tuple(combines), settings

    def __repr__(self) -> str:
        return f"Arm({self.name!r})"


@dataclass(frozen=True)
class ArmDesign:
    """An arm as it is run: with its role, and a trial whose searched fields hold their domains."""

    name: str
    role: str
    """baseline, reference, copied, scaled, placebo, compute_matched or arm."""
    template: Trial
    num_samples: int
    shares_points: bool = True
    derived_from: str | None = None
    """copied and scaled have no search of their own: they take what this arm selected."""
    combines: tuple[str, ...] = ()
    matched_by: str | None = None
    """The arm that spends as many gradient evaluations on plain training."""

    @property
    def dimensions(self) -> dict[str, Domain]:
        """Return the searched fields by column name."""
        return self.template.dimensions()

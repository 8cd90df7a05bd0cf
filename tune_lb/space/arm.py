"""Arms, as a space gives them: the named settings that a search compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tune_lb.settings.domain import Choice
from tune_lb.settings.plain import plain
from tune_lb.training.remedy import Remedy


class Arm:
    """A named setting that is compared with the others: Arm("sam", SAM(rho=over(0.01, 0.5, log=True)), batch_size=400).

    Any field of a trial may be given and overrides the space's; combines names arms whose best configurations are tried
    first in this one (an arm that holds all their remedies), so that it is never worse for want of budget alone.
    A list, over([SAM(rho=over(0.01, 1.0, log=True)), GhostBatchNorm(ghost_batch_size=over([10, 20])), None]), is one of its
    entries in every configuration: which one is searched as well, within the arm's one budget (see training/part_lists.py).
    """

    def __init__(self, name: str, *remedies: Remedy | Choice, combines: Sequence[str] = (), **settings: Any) -> None:
        self.name, self.combines = name, tuple(combines)
        self.remedies, self.settings = plain(remedies), plain(settings)

    def __repr__(self) -> str:
        return f"Arm({self.name!r})"

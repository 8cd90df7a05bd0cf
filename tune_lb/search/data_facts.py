"""What the search must know of the data: who they are, and whether blocks may cut them anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tune_lb.space.data_sets import of_source
from tune_lb.training.trial import Trial


@dataclass(frozen=True)
class DataFacts:
    """What the search must know of a data set.

    fingerprint: of its content, that of split 0. can_be_cut: whether another split seed gives other parts. others: the same of the
    data sets that arms have for themselves, by the names of their sources (space/data_sets.py). salts: what the trial ids of arms
    hold beside, whose code changed since the run was begun (results/code_versions.py).
    """

    fingerprint: str
    num_validation: int
    num_classes: int | None = None
    can_be_cut: bool = True
    others: Mapping[str, DataFacts] = field(default_factory=dict)
    salts: Mapping[str, str] = field(default_factory=dict)

    def of(self, trial: Trial) -> DataFacts:
        """Return what must be known of a trial's own data."""
        return of_source(self, self.others, trial.data)

    @property
    def all_can_be_cut(self) -> bool:
        """Say whether every data set of the run can be cut anew: blocks are the same for all arms."""
        return self.can_be_cut and all(other.can_be_cut for other in self.others.values())


def fresh_splits(asked: bool | None, facts: DataFacts) -> bool:
    """Say whether blocks have splits of their own. asked: `Space.fresh_splits`; None: wherever the data can be cut."""
    return facts.all_can_be_cut if asked is None else asked

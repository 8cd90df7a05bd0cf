"""A pair of the search: one arm in one split, and the configurations it has had."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tune_lb.samplers.distinct import untried
from tune_lb.samplers.sampler import Proposer, Values
from tune_lb.space.data_sets import of_source
from tune_lb.space.designs import ArmDesign
from tune_lb.training.trial import Trial
from tune_lb.training.trial_columns import PLAIN_PREFIXES, column_name


@dataclass(frozen=True)
class Split:
    """What the search must know of one cut of the data.

    others: the same of the data sets that arms have for themselves, by the names of their sources (space/data_sets.py).
    salts: what the trial ids of arms hold beside, whose code changed since the run was begun (results/code_versions.py).
    """

    fingerprint: str
    num_validation: int
    others: Mapping[str, Split] = field(default_factory=dict)
    salts: Mapping[str, str] = field(default_factory=dict)

    def of(self, trial: Trial) -> Split:
        """Return what must be known of a trial's own data."""
        return of_source(self, self.others, trial.data)


@dataclass
class Candidate:
    """One configuration of a pair, and where it came from."""

    index: int
    values: Values
    trial: Trial
    trial_id: str


class ArmInSplit:
    """One arm in one split."""

    def __init__(
        self, design: ArmDesign, split_seed: int, split: Split, proposer: Proposer, recorded: Mapping[int, Values]
    ) -> None:
        self.design, self.split_seed, self.split, self.proposer = design, split_seed, split, proposer
        self.dimensions = design.dimensions
        # proposals that were recorded when samplers repeated themselves stay, and take nobody's place
        repeats = len(recorded) - len({str(values) for values in recorded.values()})
        before = max(design.num_samples + repeats, 1 + max(recorded, default=-1))
        self.num_samples = max(design.num_samples, min(design.asked, before))
        self.candidates: dict[int, Candidate] = {}

    def candidate(self, index: int, values: Values) -> Candidate:
        """Return the index-th configuration, made on first sight."""
        if index not in self.candidates:
            trial = dataclasses.replace(self.design.template.resolved(values), split_seed=self.split_seed)
            fingerprint = self.split.of(trial).fingerprint + self.split.salts.get(self.design.name, "")
            self.candidates[index] = Candidate(index, values, trial, trial.trial_id(fingerprint))
        return self.candidates[index]

    def untried(self, values: Values) -> Values:
        """Return a proposal, or in place of one that was made before another that was not, where there is one."""
        return untried(self.dimensions, values, [candidate.values for candidate in self.candidates.values()])

    def taken_from(self, trial: Trial) -> Values:
        """Return what a trial of another arm has in this pair's dimensions, remedies that it lacks at their neutral values."""
        given = {remedy.name for remedy in trial.remedies}
        neutral = {
            column_name(remedy.name, field.name): getattr(type(remedy)(), field.name)
            for remedy in self.design.template.remedies
            if remedy.name not in given
            for field in dataclasses.fields(remedy)
        }
        return neutral | {name: _field(trial, name) for name in self.dimensions if name not in neutral}


def _field(trial: Trial, column: str) -> Any:
    """Return a field of a resolved trial by its column name; both ways of giving the learning rate have a value."""
    if column == "lr":
        return trial.learning_rate if trial.lr is None else trial.lr
    if column == "eta_over_b" and trial.eta_over_b is None:
        return trial.learning_rate / trial.batch_size
    prefix, _, name = column.rpartition(".")
    parts = trial.parts()
    holders = [parts[prefix]] if prefix else [trial, *(parts[key] for key in PLAIN_PREFIXES if key in parts)]
    return next(getattr(holder, name) for holder in holders if hasattr(holder, name))

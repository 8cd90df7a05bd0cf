"""The configurations of an arm in a search, and the members that they have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tune_lb.samplers.distinct import untried
from tune_lb.samplers.sampler import Proposer, Values
from tune_lb.search.blocks import Block
from tune_lb.search.data_facts import DataFacts
from tune_lb.search.job import Member
from tune_lb.settings.active import active, is_active
from tune_lb.space.designs import ArmDesign
from tune_lb.training.part_lists import label_in, part_lists
from tune_lb.training.taking import taken_by
from tune_lb.training.trial import Trial
from tune_lb.training.trial_columns import PLAIN_PREFIXES, column_name


@dataclass
class Candidate:
    """One configuration of an arm, and where it came from: the index-th of its search."""

    index: int
    values: Values
    trial: Trial
    """In split 0."""
    configuration_id: str
    salted_fingerprint: str
    in_splits: dict[int, tuple[Trial, str]] = field(default_factory=dict)
    """Trial and trial_id by split seed, as far as they were asked for."""
    of_blocks: dict[Block, tuple[Member, ...]] = field(default_factory=dict)
    """Members by block, likewise."""

    def members(self, block: Block) -> tuple[Member, ...]:
        """Return its members in a block."""
        if block not in self.of_blocks:
            self.of_blocks[block] = self._members(block)
        return self.of_blocks[block]

    def _members(self, block: Block) -> tuple[Member, ...]:
        if block.split_seed not in self.in_splits:
            trial = dataclasses.replace(self.trial, split_seed=block.split_seed)
            self.in_splits[block.split_seed] = trial, trial.trial_id(self.salted_fingerprint)
        trial, trial_id = self.in_splits[block.split_seed]
        of = self.values, self.configuration_id
        return tuple(Member(trial, trial_id, seed, block.number, *of) for seed in block.seeds)


class SearchedArm:
    """One arm of a search: its design, what proposes its configurations, and those it has had."""

    def __init__(self, design: ArmDesign, facts: DataFacts, proposer: Proposer, recorded: Mapping[int, Values]) -> None:
        self.design, self.facts, self.proposer = design, facts, proposer
        self.dimensions = design.dimensions
        # proposals that were recorded when samplers repeated themselves stay, and take nobody's place
        repeats = len(recorded) - len({str(values) for values in recorded.values()})
        before = max(design.num_samples + repeats, 1 + max(recorded, default=-1))
        self.num_samples = max(design.num_samples, min(design.asked, before))
        self.candidates: dict[int, Candidate] = {}
        self.takes = bool(taken_by(design.template))
        """Whether its members wait for those of other arms."""

    @property
    def is_searched(self) -> bool:
        """Say whether it has configurations to choose between: one alone is confirmed as it is."""
        return bool(self.dimensions) and self.design.derived_from is None and self.num_samples > 1

    @property
    def is_placebo(self) -> bool:
        """Say whether it searches on points and blocks of its own."""
        return not self.design.shares_points

    def candidate(self, index: int, values: Values) -> Candidate:
        """Return the index-th configuration, made on first sight."""
        if index not in self.candidates:
            values = active(self.dimensions, values)
            trial = dataclasses.replace(self.design.template.resolved(values), split_seed=0)
            fingerprint = self.facts.of(trial).fingerprint + self.facts.salts.get(self.design.name, "")
            self.candidates[index] = Candidate(index, values, trial, trial.configuration_id(), fingerprint)
        return self.candidates[index]

    def untried(self, values: Values) -> Values:
        """Return a proposal, or in place of one that was made before another that was not, where there is one."""
        tried = [candidate.values for candidate in self.candidates.values()]
        return active(self.dimensions, untried(self.dimensions, values, tried))

    def taken_from(self, trial: Trial) -> Values:
        """Return what a trial of another arm has in this one's dimensions, remedies that it lacks at their neutral values."""
        given = {remedy.name for remedy in trial.remedies}
        neutral = {
            column_name(remedy.name, field.name): getattr(type(remedy)(), field.name)
            for remedy in self.design.template.remedies
            if remedy.name not in given
            for field in dataclasses.fields(remedy)
        }
        drawn = {one.name: label_in(one, trial) for one in part_lists(self.design.template)}
        wanted = [n for n, d in self.dimensions.items() if n not in neutral and n not in drawn and is_active(d, drawn)]
        if not drawn:
            return neutral | {name: _field(trial, name) for name in wanted}
        own = self.design.template.resolved(drawn)
        columns = {each.name: each.column for one in part_lists(self.design.template) for each in one.searched()}
        return neutral | drawn | {name: _field_or_first(trial, own, columns.get(name, name)) for name in wanted}

    def derived(self, trial: Trial) -> Candidate:
        """Return the configuration that a copied or scaled arm takes from a trial of the arm that it is derived from."""
        values = self.taken_from(trial)
        if self.design.role == "copied":
            values |= {"lr": trial.learning_rate, "eta_over_b": None}
        else:
            values |= {"lr": None, "eta_over_b": trial.learning_rate / trial.batch_size}
        known = next((c for c in self.candidates.values() if c.values == values), None)
        return known or self.candidate(len(self.candidates), values)


def _field_or_first(trial: Trial, own: Trial, column: str) -> Any:
    """Return a field of a trial; of a part that it does not have, the first value of the field's domain."""
    prefix, _, _ = column.rpartition(".")
    if not prefix or prefix in trial.parts():
        try:
            return _field(trial, column)
        except StopIteration:
            pass
    return own.dimensions()[column].to_check()[0]


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

"""The search: which members to train next, as a function of the members already trained. No Ray, no files, no clock.

In every split by itself, and for every arm: search (num_samples configurations, few seeds each), rescreen (fresh seeds for the
configurations within one standard error of the best), confirm (fresh seeds again for the one selected). Selection sees
validation errors (or losses, `Space.select_by`) only; among equal ones the other of the two decides. Because the state is the
set of trained members, resuming a search, extending it and running it are the same thing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tune_lb.samplers.sampler import Values
from tune_lb.search.arm_in_split import ArmInSplit, Candidate, Split
from tune_lb.search.job import FIRST_SEED, STAGES, Job
from tune_lb.search.proposers import proposers
from tune_lb.search.score import Score, score, standard_error
from tune_lb.space.checks import checked_designs
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space

MAX_RESCREENED = 3
EQUAL_DIGITS = 12
"""Decimals to which mean values are equal."""


@dataclass(frozen=True)
class ArmProgress:
    """How far one arm is, over all splits, in members."""

    name: str
    role: str
    stage: str
    done: int
    total: int
    best_validation_error: float | None


class Search:
    """The state of a search: what is trained, what is being trained, and what follows.

    errors holds the value that is selected by of every member trained, its validation error with diverged ones at chance or its
    validation loss, by (trial_id, seed); ties what decides between equal ones.
    ties_decided: whether they do; without it the first configuration is taken, as in runs that were begun before they did.
    proposed holds earlier proposals of samplers that learn, by (arm, split seed) and index: they are never proposed anew.
    """

    def __init__(
        self,
        space: Space,
        splits: Mapping[int, Split],
        *,
        proposed: Mapping[tuple[str, int], Mapping[int, Values]] | None = None,
        members_per_job: int = 4,
        ties_decided: bool = True,
    ) -> None:
        self.ties_decided = ties_decided
        self.space, self.members_per_job = space, members_per_job
        self.designs = checked_designs(space)
        number = {"search": space.seeds, "rescreen": space.rescreen_seeds, "confirm": space.confirm_seeds}
        self.seeds = {stage: range(first, first + number[stage]) for stage, first in FIRST_SEED.items()}
        self.errors: dict[tuple[str, int], float] = {}
        self.ties: dict[tuple[str, int], float] = {}
        self.running: dict[tuple[str, int], Job] = {}
        self.busy: set[tuple[str, int]] = set()
        self.failed: dict[tuple[str, int], str] = {}
        self.proposed = {key: dict(values) for key, values in (proposed or {}).items()}
        self.unrecorded: list[tuple[ArmInSplit, Candidate]] = []
        self._near: dict[tuple[str, int], list[Candidate]] = {}  # near-best, found since a result last came in
        self.pairs: dict[tuple[str, int], ArmInSplit] = {}
        for split_seed, split in splits.items():
            of_arms = proposers(space, self.designs, split_seed)
            for design in self.designs:
                key = design.name, split_seed
                recorded, of_arm = self.proposed.get(key, {}), of_arms[design.name]
                self.pairs[key] = ArmInSplit(design, split_seed, split, of_arm, recorded)

    def observe(self, trial_id: str, scores: Mapping[int, float | Score]) -> None:
        """Take in the scores of trained members, by seed; a number is a score that nothing decides but itself."""
        for seed, given in scores.items():
            self.errors[trial_id, seed], self.ties[trial_id, seed] = score(given)
        self._near.clear()
        for seed in scores:
            self.busy.discard((trial_id, seed))
            self.running.pop((trial_id, seed), None)

    def give_up(self, job: Job, reason: str) -> None:
        """Take in that a job's members cannot be had in this call; the others go on without them."""
        self.running.pop(job.key, None)
        self._near.clear()
        for seed in job.seeds:
            self.busy.discard((job.trial_id, seed))
            if (job.trial_id, seed) not in self.errors:
                self.failed[job.trial_id, seed] = reason

    def take(self) -> Job | None:
        """Return a job that can start now, or None while everything else waits for results."""
        for pair in self.pairs.values():
            for job in self._ready(pair):
                self.running[job.key] = job
                self.busy |= {(job.trial_id, seed) for seed in job.seeds}
                return job
        return None

    def new_proposals(self) -> list[tuple[ArmInSplit, Candidate]]:
        """Return what samplers that learn proposed since the last call: to be stored before its members are trained."""
        found, self.unrecorded = self.unrecorded, []
        return found

    @property
    def finished(self) -> bool:
        """Say whether nothing runs and nothing can start."""
        return not self.running and all(next(iter(self._ready(pair)), None) is None for pair in self.pairs.values())

    def selected(self, arm: str, split_seed: int) -> Candidate | None:
        """Return the configuration that stands for the arm in the split, once that is known."""
        pair = self.pairs[arm, split_seed]
        if pair.design.derived_from is not None:
            return self._derived(pair)
        near = self._near_best(pair)
        if near and len(near) == 1:
            return near[0]
        if not near or not all(self._complete(c, "rescreen") for c in near):
            return None
        return min(near, key=lambda c: self._rank(c, ("search", "rescreen")))

    def progress(self) -> list[ArmProgress]:
        """Return how far each arm is."""
        return [self._arm_progress(design) for design in self.designs]

    def _ready(self, pair: ArmInSplit) -> Iterable[Job]:
        if pair.design.derived_from is None:
            for index in range(pair.num_samples if pair.dimensions else 0):
                candidate = self._proposal(pair, index, now=True)
                if candidate is not None:
                    yield from self._missing(pair, candidate, "search")
            near = self._near_best(pair) or []
            if len(near) > 1:
                for candidate in near:
                    yield from self._missing(pair, candidate, "rescreen")
        chosen = self.selected(pair.design.name, pair.split_seed)
        if chosen is not None:
            yield from self._missing(pair, chosen, "confirm")

    def _missing(self, pair: ArmInSplit, candidate: Candidate, stage: str) -> Iterable[Job]:
        keys = [(candidate.trial_id, seed) for seed in self.seeds[stage]]
        seeds = [k[1] for k in keys if k not in self.errors and k not in self.failed and k not in self.busy]
        for run in _consecutive(seeds, self.members_per_job):
            yield Job(
                candidate.trial, candidate.trial_id, pair.design.name, pair.split_seed, stage, run, candidate.values
            )

    def _complete(self, candidate: Candidate, stage: str) -> bool:
        return all(
            (candidate.trial_id, s) in self.errors or (candidate.trial_id, s) in self.failed for s in self.seeds[stage]
        )

    def _found(self, candidate: Candidate, stages: Sequence[str]) -> list[float]:
        keys = [(candidate.trial_id, seed) for stage in stages for seed in self.seeds[stage]]
        return [self.errors[key] for key in keys if key in self.errors]

    def _mean(self, candidate: Candidate, stages: Sequence[str]) -> float:
        found = self._found(candidate, stages)
        return statistics.fmean(found) if found else math.inf

    def _rank(self, candidate: Candidate, stages: Sequence[str]) -> tuple[float, float, int]:
        """Return what candidates are ordered by: mean value, then the mean of what decides between equal ones, then their order."""
        keys = [(candidate.trial_id, seed) for stage in stages for seed in self.seeds[stage]]
        if not self.ties_decided:
            return self._mean(candidate, stages), 0.0, candidate.index
        ties = [self.ties[key] for key in keys if key in self.ties]
        # equal sums of errors differ in their last bit by how the errors are shared out over seeds
        mean = round(self._mean(candidate, stages), EQUAL_DIGITS)
        return mean, statistics.fmean(ties) if ties else math.inf, candidate.index

    def _proposal(self, pair: ArmInSplit, index: int, *, now: bool = False) -> Candidate | None:
        """Return the index-th configuration of a pair; None while it waits for the results that it follows from.

        A sampler that learns is asked as late as can be: only now, when the configuration could start.
        """
        if index in pair.candidates:
            return pair.candidates[index]
        if index < len(pair.design.combines):
            values = self._combined(pair, pair.design.combines[index])
            return None if values is None else pair.candidate(index, values)
        if not self.space.sampler.learns:
            return pair.candidate(index, pair.proposer.propose(index, []))
        known = self.proposed.setdefault((pair.design.name, pair.split_seed), {})
        if index in known:
            return pair.candidate(index, known[index])
        if not now:
            return None
        scored = [
            (c.values, self._mean(c, ("search",)))
            for _, c in sorted(pair.candidates.items())
            if self._complete(c, "search") and self._found(c, ("search",))
        ]
        known[index] = pair.untried(pair.proposer.propose(index, scored))
        candidate = pair.candidate(index, known[index])
        self.unrecorded.append((pair, candidate))
        return candidate

    def _combined(self, pair: ArmInSplit, arm: str) -> Values | None:
        """Return the best configuration of another arm in this one's dimensions, remedies that it lacks at neutral values."""
        other = self.pairs[arm, pair.split_seed]
        found = self._searched(other)
        if found is None:
            return None
        return pair.taken_from(min(found, key=lambda c: self._rank(c, ("search",))).trial)

    def _derived(self, pair: ArmInSplit) -> Candidate | None:
        source = self.selected(str(pair.design.derived_from), pair.split_seed)
        if source is None:
            return None
        values = pair.taken_from(source.trial)
        if pair.design.role == "copied":
            values |= {"lr": source.trial.learning_rate, "eta_over_b": None}
        else:
            values |= {"lr": None, "eta_over_b": source.trial.learning_rate / source.trial.batch_size}
        index = len(pair.candidates)
        known = next((c for c in pair.candidates.values() if c.values == values), None)
        return known or pair.candidate(index, values)

    def _searched(self, pair: ArmInSplit) -> list[Candidate] | None:
        if not pair.dimensions:
            return [pair.candidate(0, {})]
        found = [self._proposal(pair, index) for index in range(pair.num_samples)]
        known = [candidate for candidate in found if candidate is not None]
        if len(known) < len(found) or not all(self._complete(candidate, "search") for candidate in known):
            return None
        return known

    def _near_best(self, pair: ArmInSplit) -> list[Candidate] | None:
        """Return the configurations within one standard error of the best, at most three; None while some are missing.

        The standard error is that of the best one's mean over seeds, and at least one validation example.
        """
        key = (pair.design.name, pair.split_seed)
        if key not in self._near:
            found = self._searched(pair)
            if found is None:
                return None
            self._near[key] = self._best_of(pair, found) if pair.dimensions else found
        return self._near[key]

    def _best_of(self, pair: ArmInSplit, candidates: Sequence[Candidate]) -> list[Candidate]:
        # where every member failed there is nothing to select
        trained = [c for c in candidates if self._found(c, ("search",))]
        ranked = sorted(trained, key=lambda c: self._rank(c, ("search",)))
        if not ranked:
            return []
        num_validation = pair.split.of(ranked[0].trial).num_validation
        if num_validation == 0:
            return ranked[:1]
        error = standard_error(self._found(ranked[0], ("search",)))
        counted = self.space.select_by == "error" and (self.space.error is None or self.space.error.is_share)
        step = 1.0 / num_validation if counted else 0.0
        limit = self._mean(ranked[0], ("search",)) + max(error, step)
        unique = {c.trial_id: c for c in reversed(ranked) if self._mean(c, ("search",)) <= limit * (1 + 1e-9)}
        return [c for c in ranked if unique.get(c.trial_id) is c][:MAX_RESCREENED]

    def _arm_progress(self, design: ArmDesign) -> ArmProgress:
        done, total = dict.fromkeys(STAGES, 0), dict.fromkeys(STAGES, 0)
        best: list[float] = []
        for (arm, _), pair in self.pairs.items():
            if arm != design.name:
                continue
            for stage, (candidates, number) in self._expected(pair).items():
                total[stage] += number
                done[stage] += sum(len(self._found(candidate, (stage,))) for candidate in candidates)
            means = [self._mean(c, ("search", "rescreen")) for c in pair.candidates.values()]
            best += [min(means)] if means and min(means) < math.inf else []
        stage = next((s for s in STAGES if done[s] < total[s]), "done")
        mean = statistics.fmean(best) if best else None
        return ArmProgress(design.name, design.role, stage, sum(done.values()), sum(total.values()), mean)

    def _expected(self, pair: ArmInSplit) -> dict[str, tuple[list[Candidate], int]]:
        """Return, by stage, the configurations known to need members, and how many members the stage will have."""
        chosen = self.selected(pair.design.name, pair.split_seed)
        confirm = ([chosen] if chosen is not None else [], self.space.confirm_seeds)
        if pair.design.derived_from is not None or not pair.dimensions:
            return {"confirm": confirm}
        near = self._near_best(pair)
        expected = 2 if near is None else len(near)
        rescreen = near if near is not None and len(near) > 1 else []
        return {
            "search": (list(pair.candidates.values()), pair.num_samples * self.space.seeds),
            "rescreen": (rescreen, expected * self.space.rescreen_seeds if expected > 1 else 0),
            "confirm": confirm,
        }


def _consecutive(seeds: Sequence[int], size: int) -> list[tuple[int, ...]]:
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1 and len(runs[-1]) < size:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return [tuple(run) for run in runs]

"""The search: which members to train next, as a function of the members already trained. No Ray, no files, no clock.

Every arm is searched (num_samples configurations, one member each in one block), decided (the `candidates` best in
decide_blocks fresh blocks, by validation loss and soft validation error) and confirmed (the one configuration in confirm_blocks
fresh blocks of block_seeds members). Blocks are the same for all arms. What is selected by are validation examples alone.
Because the state is the set of trained members, resuming a search, extending it and running it are the same thing.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from tune_lb.samplers.sampler import Values
from tune_lb.search.arm_progress import ArmProgress, arm_progress
from tune_lb.search.blocks import Block, blocks
from tune_lb.search.candidates import Candidate, SearchedArm
from tune_lb.search.confirming import wanted_blocks
from tune_lb.search.data_facts import DataFacts, fresh_splits
from tune_lb.search.deciding import decided_for, rank
from tune_lb.search.expected import expected_members
from tune_lb.search.halving import Rung, clipped, is_there, rung_of, searched_members, told
from tune_lb.search.job import Job, Member, MemberKey
from tune_lb.search.job_size import JobSize
from tune_lb.search.lending import blocks_to_lend, members_to_lend, with_lenders
from tune_lb.search.proposers import proposers
from tune_lb.search.score import Score, chance_loss, sought
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space


class Search:
    """The state of a search: what is trained, what is being trained, and what follows.

    facts: what must be known of the data. proposed: earlier proposals of samplers that learn, by arm and index: they are never
    proposed anew. size: how many members a job holds.
    scores: of every member trained, by (trial_id, seed).
    """

    def __init__(
        self,
        space: Space,
        facts: DataFacts,
        *,
        proposed: Mapping[str, Mapping[int, Values]] | None = None,
        size: JobSize | None = None,
    ) -> None:
        self.space, self.facts, self.size = space, facts, size or JobSize()
        self.fresh = fresh_splits(space.fresh_splits, facts)
        self.designs = checked_designs(space)
        self.scores: dict[MemberKey, Score] = {}
        self.looked: dict[MemberKey, Score] = {}
        """What was seen last of members that are not trained to their end, and may have been stopped (search/halving.py)."""
        self.running: dict[str, Job] = {}
        self.busy: set[MemberKey] = set()
        self.failed: dict[MemberKey, str] = {}
        self.proposed = {arm: dict(values) for arm, values in (proposed or {}).items()}
        self.unrecorded: list[tuple[SearchedArm, Candidate]] = []
        of_arms = proposers(space, self.designs)
        self.arms = {
            design.name: SearchedArm(design, facts, of_arms[design.name], self.proposed.get(design.name, {}))
            for design in self.designs
        }
        self._known: dict[tuple[str, str], list[Candidate] | None] = {}
        """What is kept of each arm's search and decided for, since a result last came in."""
        self._rungs: dict[str, Rung] = {}
        self._confirm_blocks_of: dict[str, int] = {}
        self.variances: dict[str, float] = {}
        """Of each arm's selection, as far as they were asked for: see search/confirming.py."""
        self.only: Collection[MemberKey] | None = None
        """The members that may be trained; None: all."""

    def observe(self, scores: Mapping[MemberKey, Score]) -> None:
        """Take in the scores of trained members."""
        self.scores |= {key: score for key, score in scores.items() if score.is_whole}
        self.looked |= {key: score for key, score in scores.items() if not score.is_whole}
        self.busy -= scores.keys()
        self._come_to_know()

    def give_up(self, members: Iterable[MemberKey], reason: str) -> None:
        """Take in that members cannot be had in this call; the others go on without them."""
        for key in members:
            self.busy.discard(key)
            if key not in self.scores:
                self.failed[key] = reason
        self._come_to_know()

    def ready(self, arm: str) -> list[MemberKey]:
        """Return the members of an arm that could start now."""
        return [member.key for _, member in self._ready(self.arms[arm])]

    def take(self, order: Sequence[str] = ()) -> Job | None:
        """Return a job that can start now, or None while all else waits for results. order: of the arms, if not the space's."""
        left, ready = self._left(), self._num_ready(self.size.most * self.size.workers)
        for name in order or self.arms:
            job = self._job(self.arms[name], *self.size(name, left, ready))
            if job is not None:
                self.running[job.key] = job
                self.busy |= {member.key for member in job.members}
                return job
        return None

    def new_proposals(self) -> list[tuple[SearchedArm, Candidate]]:
        """Return what samplers that learn proposed since the last call: to be stored before its members are trained."""
        found, self.unrecorded = self.unrecorded, []
        return found

    @property
    def finished(self) -> bool:
        """Say whether nothing runs and nothing can start."""
        return not self.running and all(next(self._ready(arm), None) is None for arm in self.arms.values())

    def selected(self, arm: str) -> Candidate | None:
        """Return the configuration that stands for the arm, once that is known."""
        own = self.arms[arm]
        if own.design.derived_from is not None:
            source = self.selected(own.design.derived_from)
            return None if source is None else own.derived(source.trial)
        kept = self.kept(own)
        if not kept or len(kept) == 1:
            return kept[0] if kept else None
        return next(iter(self._decided(own, kept) or []), None)

    def members(self, arm: str, stage: str, candidate: Candidate) -> list[Member]:
        """Return the members that a configuration of an arm has in a stage."""
        return [member for block in self.blocks(arm, stage) for member in candidate.members(block)]

    def blocks(self, arm: str, stage: str) -> list[Block]:
        """Return the blocks of an arm's stage."""
        own = self.arms[arm]
        count = {"search": 1, "decide": self.space.decide_blocks}.get(stage) or self._confirm_blocks(own)
        seeds = self.space.block_seeds if stage == "confirm" else 1
        return blocks(stage, count, seeds=seeds, fresh_splits=self.fresh, placebo=own.is_placebo)

    def progress(self) -> list[ArmProgress]:
        """Return how far each arm is."""
        return [arm_progress(self, arm) for arm in self.arms.values()]

    def expected(self, arm: str) -> dict[str, int]:
        """Return how many members an arm will have in each stage."""
        own = self.arms[arm]
        return expected_members(self.space, own.design, own.num_samples, self._confirm_blocks(own))

    def _confirm_blocks(self, arm: SearchedArm) -> int:
        """Return how many blocks an arm is confirmed in, as far as that is known. The one place that says so."""
        if isinstance(asked := self.space.confirm_blocks, int):
            return asked
        if not self._confirm_blocks_of:
            self._confirm_blocks_of = blocks_to_lend(wanted_blocks(self, asked), self.designs)
        return self._confirm_blocks_of[arm.design.name]

    def rung(self, arm: SearchedArm) -> Rung:
        """Return which look comes next in the search of an arm, and which of its configurations go on to it."""
        name = arm.design.name
        if name not in self._rungs:
            for index in range(arm.num_samples) if self.space.stopping is not None else ():
                self._proposal(arm, index)
            self._rungs[name] = rung_of(self, arm)
        return self._rungs[name]

    def _come_to_know(self) -> None:
        self._known.clear()
        self._rungs.clear()
        self._confirm_blocks_of = {}
        over = [key for key, job in self.running.items() if not any(m.key in self.busy for m in job.members)]
        for key in over:
            del self.running[key]

    def _left(self) -> int:
        expected = sum(sum(self.expected(arm).values()) for arm in self.arms)
        return expected - len(self.scores) - len(self.failed) - len(self.busy)

    def _num_ready(self, enough: int) -> int:
        """Return how many members could start now, counted up to a number; those that a sampler would still propose are not."""
        found = 0
        for arm in self.arms.values():
            found += sum(1 for _ in itertools.islice(self._ready(arm, now=False), enough - found))
            if found >= enough:
                break
        return found

    def _job(self, arm: SearchedArm, size: int, share: int) -> Job | None:
        """Return the next job of an arm: members of one stage; of a sampler that learns, one that is searched at a time."""
        found: list[Member] = []
        stage = ""
        for own_stage, member in self._ready(arm):
            if found and (own_stage, member.look) != (stage, found[0].look):
                break
            stage = own_stage
            found.append(member)
            if len(found) > size or (stage == "search" and self.space.sampler.learns):
                break
        return self.size.job(arm.design.name, stage, found, size, share) if found else None

    def _ready(self, arm: SearchedArm, *, now: bool = True) -> Iterator[tuple[str, Member]]:
        """Yield the members of an arm that could start now, with their stages, none twice."""
        seen = set(self.busy)
        for stage, members in self.wanted(arm, now=now):
            for member in members:
                done = member.key in seen or is_there(self, member)
                done = done or (self.only is not None and member.key not in self.only)
                found = None if done else with_lenders(self, member) if arm.takes else member
                if found is not None:
                    seen.add(member.key)
                    yield stage, found

    def wanted(self, arm: SearchedArm, *, now: bool) -> Iterator[tuple[str, Iterable[Member]]]:
        """Yield the members that an arm needs as far as that is known, trained or not, stage by stage. now: see _proposal."""
        name = arm.design.name
        if arm.is_searched:
            yield "search", searched_members(self, arm, lambda index: self._proposal(arm, index, now=now))
            kept = self.kept(arm)
            if kept is not None and len(kept) > 1:
                # one block after the other: its data are there once
                yield "decide", (m for block in self.blocks(name, "decide") for c in kept for m in c.members(block))
        chosen = self.selected(name)
        if chosen is not None:
            yield "lent", members_to_lend(self, arm, chosen)
            yield "confirm", self.members(name, "confirm", chosen)

    def _proposal(self, arm: SearchedArm, index: int, *, now: bool = False) -> Candidate | None:
        """Return the index-th configuration of an arm; None while it waits for the results that it follows from.

        A sampler that learns is asked as late as can be: only now, when the configuration could start.
        """
        if index in arm.candidates:
            return arm.candidates[index]
        if index < len(arm.design.combines):
            values = self._combined(arm, arm.design.combines[index])
            return None if values is None else arm.candidate(index, values)
        if not self.space.sampler.learns:
            return arm.candidate(index, arm.proposer.propose(index, []))
        known = self.proposed.setdefault(arm.design.name, {})
        if index in known:
            return arm.candidate(index, known[index])
        if not now:
            return None
        scores = {i: score for i, c in arm.candidates.items() if (score := self.searched_score(arm, c)) is not None}
        whole = {i: sought(score, rank(self.space.select_by, score)[0]) for i, score in scores.items()}
        known[index] = arm.untried(arm.proposer.propose(index, told(self, arm, whole)))
        candidate = arm.candidate(index, known[index])
        self.unrecorded.append((arm, candidate))
        return candidate

    def _combined(self, arm: SearchedArm, other: str) -> Values | None:
        """Return the best configuration of another arm's search in this one's dimensions; None while it is searched."""
        source = self.arms[other]
        if source.design.derived_from is not None:
            found = self.selected(other)
            return None if found is None else arm.taken_from(found.trial)
        kept = self.kept(source)
        return None if not kept else arm.taken_from(kept[0].trial)

    def kept(self, arm: SearchedArm) -> list[Candidate] | None:
        """Return the best configurations of an arm's search, best first; None while some are missing."""
        if not arm.is_searched:
            only = self._proposal(arm, 0, now=True) if arm.dimensions else arm.candidate(0, {})
            return None if only is None else [only]
        key = arm.design.name, "search"
        if key not in self._known:
            now = self.rung(arm)
            found = [self._proposal(arm, index) for index in now.going_on]
            known = [candidate for candidate in found if candidate is not None]
            whole = now.look == 0 and len(known) == len(found) and all(self._complete(arm, "search", c) for c in known)
            every = [candidate for index, candidate in sorted(arm.candidates.items()) if index < arm.num_samples]
            self._known[key] = self._best(arm, every) if whole else None
        return self._known[key]

    def _best(self, arm: SearchedArm, candidates: Sequence[Candidate]) -> list[Candidate]:
        # where every member failed there is nothing to select
        scored = [(c, score) for c in candidates if (score := self.searched_score(arm, c)) is not None]
        order = sorted(scored, key=lambda pair: (*rank(self.space.select_by, pair[1]), pair[0].index))
        ordered = [candidate for candidate, _ in order]
        unique = {c.configuration_id: c for c in reversed(ordered)}
        return [c for c in ordered if unique[c.configuration_id] is c][: self.space.candidates]

    def _decided(self, arm: SearchedArm, kept: Sequence[Candidate]) -> list[Candidate] | None:
        key = arm.design.name, "decide"
        if key not in self._known:
            whole = all(self._complete(arm, "decide", c) for c in kept)
            self._known[key] = [kept[self._choice(arm, kept)]] if whole else None
        return self._known[key]

    def _choice(self, arm: SearchedArm, kept: Sequence[Candidate]) -> int:
        return decided_for(self.decide_scores(arm, kept), self.space.select_by, self.chance(kept[0]))

    def decide_scores(self, arm: SearchedArm, kept: Sequence[Candidate]) -> list[list[Score | None]]:
        """Return the scores that it is decided by, by configuration and block."""
        own = [self.members(arm.design.name, "decide", candidate) for candidate in kept]
        return [[self.scores.get(member.key) for member in members] for members in own]

    def chance(self, candidate: Candidate) -> float:
        """Return the loss of a guess without knowledge."""
        return chance_loss(candidate.trial, self.facts.of(candidate.trial).num_classes)

    def searched_score(self, arm: SearchedArm, candidate: Candidate) -> Score | None:
        """Return the score of a configuration's member in the search, its loss clipped at chance; None where it has none."""
        (member,) = self.members(arm.design.name, "search", candidate)
        score = self.scores.get(member.key)
        return None if score is None else clipped(score, self.chance(candidate))

    def _complete(self, arm: SearchedArm, stage: str, candidate: Candidate) -> bool:
        keys = (member.key for member in self.members(arm.design.name, stage, candidate))
        return all(key in self.scores or key in self.failed for key in keys)

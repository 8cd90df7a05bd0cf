"""The work of one job: train its members, measure them, and store what came out. No Ray; a worker drives it step by step."""

from __future__ import annotations

import datetime
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import safetensors.torch
import torch

from tune_lb.data.device import Parts
from tune_lb.errors import PROGRAM, RequestError, defined_at, one_line
from tune_lb.metrics.metric import Metric, reason_of, unmeasured
from tune_lb.observation.outcome import measured_values
from tune_lb.pause import pause
from tune_lb.results.columns import FINISHED
from tune_lb.results.measurements import write_measurements
from tune_lb.results.member_rows import job_stem, write_trial
from tune_lb.results.storage import DamagedError, StorageError
from tune_lb.results.tables import decode_table
from tune_lb.results.wholeness import NOTE
from tune_lb.search.job import Job, Member, MemberKey
from tune_lb.search.score import Score, measured, score_of
from tune_lb.training.microbatch_size import take_smaller
from tune_lb.training.trial import Trial
from tune_lb.tuning.run_context import RunContext
from tune_lb.tuning.running_program import COMPILED_TOGETHER, TOGETHER, RunningProgram, begun_together
from tune_lb.tuning.running_training import RunningTraining
from tune_lb.tuning.siblings import Siblings, siblings_of

Rows = list[dict[str, Any]]


class RunningJob:
    """One job in progress: its members are trained, trial after trial or as stacks, and stored before it says that it is done.

    They are stored in one file, or sooner, in several: where there is something to measure, and where the work since the last
    one took longer than a checkpoint may be old. An exception in a training is an outcome of its members; the others go on.

    parts_of: the data of a trial on the device. share: of the device, that this process may take. scores, failures: of the members
    that are done, by (trial_id, seed). Raises torch.OutOfMemoryError where members do not fit into the share: a larger one may do.
    """

    def __init__(self, job: Job, parts_of: Callable[[Trial], Parts], context: RunContext, share: float = 1.0) -> None:
        self.job, self.parts_of, self.context, self.share = job, parts_of, context, share
        self.scores: dict[MemberKey, Score] = {}
        self.failures: dict[MemberKey, str] = {}
        self.now: RunningTraining | RunningProgram | None = None
        self.apart: set[str] = set()
        """Siblings that failed in a stack with others and train by themselves, so that a failure costs its own members only."""
        self.trained: list[tuple[RunningTraining, Rows, Rows]] = []
        """Trainings that are done and not stored, with the rows of their members and predictions."""
        self.stored_at = time.monotonic()
        self.part = self._stored_before()
        left = [member for member in job.members if member.key not in self.scores]
        self.waiting = siblings_of(
            left,
            lambda member: context.is_watched(job.stage, member.block),
            lambda member: context.keeps_weights(job.arm, job.stage, member.block),
        )

    @property
    def done(self) -> bool:
        """Say whether no member is left to train."""
        return self.now is None and not self.waiting

    def advance(self, at_least_s: float) -> bool:
        """Train for at least so many seconds, in whole epochs; say whether training is done."""
        started = time.monotonic()
        while not self.done:
            begun = [work.siblings for work in self.now.works] if self.now is not None else self.waiting[:1]
            try:
                if self.now is None:
                    self.now, begun = self._begun()
                    self.waiting = [own for own in self.waiting if own not in begun]
                if self.now.advance(at_least_s - (time.monotonic() - started)):
                    works, self.now = self.now.works, None
                    self._end_all(works)
            # whatever a user's model raises is the outcome of these members, not the end of the search; so is sys.exit() in it
            except (Exception, SystemExit) as error:
                _not_of_members(error)
                self.now = None
                self.waiting = [own for own in self.waiting if own not in begun]
                if len(begun) == 1 and isinstance(error, torch.OutOfMemoryError) and self._takes_smaller(begun[0]):
                    self.waiting = begun + self.waiting
                elif len(begun) == 1:
                    self._fail(begun[0], error)
                else:
                    self.apart |= {own.key for own in begun}
                    self.waiting = begun + self.waiting
            if time.monotonic() - started >= at_least_s:
                break
        return self.done

    def _begun(self) -> tuple[RunningTraining | RunningProgram, list[Siblings]]:
        """Begin the first of the waiting siblings, with others of their program where members train together."""
        first = self.waiting[0]
        largest = self.context.stacked.get(self.job.arm, 1)
        stacked = largest > 1 and self.context.execution[self.job.arm] in (TOGETHER, COMPILED_TOGETHER)
        if not stacked or first.key in self.apart:
            way = TOGETHER if stacked else None
            return RunningTraining(self.job, first, self.parts_of(first.trial), self.context, way), [first]
        others = [own for own in self.waiting[1:] if own.key not in self.apart]
        return begun_together(self.job, [first, *others], self.parts_of, self.context, largest)

    def _end_all(self, works: Sequence[RunningTraining]) -> None:
        for work in works:
            try:
                self._end(work)
            # as above
            except (Exception, SystemExit) as error:
                _not_of_members(error)
                self._fail(work.siblings, error)

    def finish(self) -> dict[MemberKey, Score]:
        """Store what is not stored yet; return the scores of the members that were trained."""
        self._store()
        pause("report", job_stem(self.job.key, self.job.stage, self.part))
        return self.scores

    def _end(self, work: RunningTraining) -> None:
        """Take in a training that is done.

        A member is stored before it is measured, so that whatever happens then, it is not trained again; its weights stay
        until it is measured, for `tune-lb measure`.
        """
        measured = [m.seed for m in work.siblings.members if self._metrics(m)]
        rows: Rows = []
        predictions: Rows = []
        for member, outcome, row in work.outcomes():
            rows.append(row | identity_of(self.job, member, self.context))
            if self.job.stage == "confirm" or self._metrics(member):
                contents = {name: value.cpu().contiguous() for name, value in outcome.weights.items()}
                self.context.store.child("weights").write(_weights_file(member), safetensors.torch.save(contents, NOTE))
            coded = work.coded(outcome)
            if coded is not None:
                predictions.append({"trial_id": member.trial_id, "seed": member.seed, "predictions": coded})
        self.trained.append((work, rows, predictions))
        if measured or time.monotonic() - self.stored_at > self.context.checkpoint_every_s:
            stem = self._store()
            if measured:
                pause("measure", stem)
                self._measure(work, measured, stem)

    def _store(self) -> str:
        """Store what is trained and not stored; return the name of its files."""
        stem = job_stem(self.job.key, self.job.stage, self.part)
        if self.trained:
            rows = [row for _, own, _ in self.trained for row in own]
            history = [row for work, _, _ in self.trained for row in work.history_rows()]
            predictions = [row for _, _, own in self.trained for row in own]
            write_trial(self.context.store, stem, self.context.schema(), rows, history, predictions)
            self.scores |= {(row["trial_id"], row["seed"]): score_of(row, self.context.objectives) for row in rows}
            for work, _, _ in self.trained:
                work.forget()
            self.part += 1
        self.trained, self.stored_at = [], time.monotonic()
        return stem

    def _takes_smaller(self, siblings: Siblings) -> bool:
        """Let siblings that ran out of memory go on in smaller microbatches, if there are any with the same gradient."""
        _empty_cache()
        asked, way = self.context.microbatch, self.context.execution[self.job.arm]
        return take_smaller(
            siblings.trial, siblings.seeds, self.parts_of(siblings.trial), asked, execution=way
        ) or take_smaller(siblings.trial, siblings.seeds, self.parts_of(siblings.trial), asked)

    def _fail(self, siblings: Siblings, error: BaseException) -> None:
        if isinstance(error, torch.OutOfMemoryError) and self.share < 1.0:
            self._store()
            raise error
        left = [member for member in siblings.members if member.key not in self.scores]
        self.trained = [entry for entry in self.trained if entry[0].siblings is not siblings]
        if left:
            reason = store_failure(self.job, left, self.context, error, part=len(self.failures))
            self.failures |= {member.key: reason for member in left}
        _empty_cache()

    def _metrics(self, member: Member) -> tuple[Metric, ...]:
        # one that is looked at on its way may go on
        return () if member.look else self.context.metrics_of(self.job.stage, member.block, member.seed)

    def _measure(self, work: RunningTraining, seeds: Sequence[int], stem: str) -> None:
        """Measure the stored members and store what is found, or why there is nothing."""
        members = [member for member in work.siblings.members if member.seed in seeds]
        try:
            values = measured_values(work.training, self.context.metrics, seeds=seeds)
            self._write_measured(stem, {member.key: values[member.seed] for member in members})
        # a metric that ends the process, or returns what no column holds: the members are trained all the same
        except (Exception, SystemExit) as error:
            _not_of_members(error)
            lost = unmeasured(self.context.metrics, reason_of(error))
            self._write_measured(stem, {member.key: lost for member in members})
        if self.job.stage != "confirm":
            for member in members:
                self.context.store.child("weights").delete(_weights_file(member))

    def _stored_before(self) -> int:
        """Take in what an earlier worker stored of this job before it died; return the number of the next file."""
        part = 0
        while (rows := _read(self.job, self.context, part)) is not None:
            stem = job_stem(self.job.key, self.job.stage, part)
            values = self._measured_before(stem)
            for row in rows:
                key, objectives = (row["trial_id"], row["seed"]), self.context.objectives
                if row["status"] in FINISHED:
                    self.scores[key] = measured(score_of(row, objectives), values.get(key, {}), objectives)
            lost = [
                m for m in self.job.members if m.key in {(r["trial_id"], r["seed"]) for r in rows} and self._metrics(m)
            ]
            if lost and not self.context.store.exists(f"measurements/{stem}.measured.parquet"):
                reason = (
                    f"the worker died while it measured ({PROGRAM} measure {self.context.run} --again tries it again)"
                )
                self._write_measured(stem, {m.key: unmeasured(self.context.metrics, reason) for m in lost})
            part += 1
        return part

    def _measured_before(self, stem: str) -> Mapping[MemberKey, Mapping[str, Any]]:
        """Return what an earlier worker measured of a part, where an objective may be among it."""
        name = f"measurements/{stem}.measured.parquet"
        if not self.context.objectives or not self.context.store.exists(name):
            return {}
        rows = decode_table(self.context.store.read(name)).to_pylist()
        return {(row["trial_id"], row["seed"]): row for row in rows}

    def _write_measured(self, stem: str, values: Mapping[MemberKey, Mapping[str, Any]]) -> None:
        for key, found in values.items():
            self.scores[key] = measured(self.scores[key], found, self.context.objectives)
        rows = [{"trial_id": key[0], "seed": key[1], **row} for key, row in values.items()]
        write_measurements(self.context.store, stem, self.context.metric_columns(rows), rows)


def _empty_cache() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _not_of_members(error: BaseException) -> None:
    """Raise what says nothing of the members: what storage refused, and errors of the GPU, after which no other use of it by this
    process works. They can be trained when that works again, or by another worker."""
    if isinstance(error, torch.AcceleratorError) or (
        isinstance(error, StorageError) and not isinstance(error, DamagedError)
    ):
        raise error


def identity_of(job: Job, member: Member, context: RunContext) -> dict[str, Any]:
    """Return the columns that say which member of which run a row is, and which code made it."""
    return {
        "run": context.run,
        "space_hash": context.space_hash,
        "trial_id": member.trial_id,
        "seed": member.seed,
        "stage": job.stage,
        "block": member.block,
        "configuration_id": member.configuration_id,
        "code": context.code.get(job.arm, {}).get("fingerprint") or None,
        "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        **context.provenance,
    }


def store_failure(job: Job, members: Sequence[Member], context: RunContext, error: BaseException, part: int = 0) -> str:
    """Store a row for every member that could not be trained; return the reason in one line."""
    status = "out_of_memory" if isinstance(error, torch.OutOfMemoryError) else "failed"
    place = traceback.extract_tb(error.__traceback__)[-1]
    reason = one_line(error, defined_at(members[0].trial.model) or f"{place.filename}:{place.lineno}")
    rows = [
        member.trial.columns() | identity_of(job, member, context) | {"status": status, "error": reason}
        for member in members
    ]
    write_trial(context.store, job_stem(job.key, job.stage, part, failed=True), context.schema(), rows, [], [])
    return reason


def _read(job: Job, context: RunContext, part: int) -> Rows | None:
    """Return the rows of a part of a job; None where there is none, nothing where it is damaged."""
    name = f"{job_stem(job.key, job.stage, part)}.members.parquet"
    trials = context.store.child("trials")
    if not trials.exists(name):
        return None
    try:
        return list(decode_table(trials.read(name)).to_pylist())
    except RequestError:
        return []  # its members are trained again


def _weights_file(member: Member) -> str:
    return f"{member.trial_id}.{member.seed}.safetensors"

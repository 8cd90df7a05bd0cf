"""The search on Ray: one Tuner over all arms, splits and stages, fed by the pure search and resumed from the results."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tune_lb.results.damage import FOLDER
from tune_lb.results.ledger import Ledger
from tune_lb.results.merger import Merger
from tune_lb.results.run_files import write_space
from tune_lb.results.storage import StorageError, Store
from tune_lb.results.waiting import storage_waited_for
from tune_lb.search import halving
from tune_lb.search.job import Job, Member
from tune_lb.search.job_size import JobSize
from tune_lb.space.checks import checked_designs
from tune_lb.tuning import preparation
from tune_lb.tuning.busy import Busy, cluster_amounts
from tune_lb.tuning.cluster import Session, check_answers, ray_session, resources_of_nodes
from tune_lb.tuning.ending import Ending, set_aside_since
from tune_lb.tuning.head_watch import lives, ray_watched
from tune_lb.tuning.newest_first import NewestFirst
from tune_lb.tuning.placement import node_of_worker, worker_of
from tune_lb.tuning.planned_searcher import PlannedSearcher, ProgressCallback
from tune_lb.tuning.preflight import preflight
from tune_lb.tuning.preparation import Prepared, write_run_targets
from tune_lb.tuning.progress import SearchProgress, search_progress, work_s
from tune_lb.tuning.quiet_ray import environment_inherited, tune
from tune_lb.tuning.ray_ahead import RayAhead
from tune_lb.tuning.reach import check_reach, travel_by_value
from tune_lb.tuning.replay import Scores, replayed, selected_ids
from tune_lb.tuning.request import JOB_S, MEMBERS_PER_JOB, RAY_START_S, Request, workers
from tune_lb.tuning.resources import Node, this_machine
from tune_lb.tuning.resume import stored_members, unmeasured
from tune_lb.tuning.run_description import run_description
from tune_lb.tuning.stopped_checkpoints import forget_stopped
from tune_lb.tuning.time_budget import asked_with_numbers
from tune_lb.tuning.time_cut import cut_to_fit, moved
from tune_lb.tuning.time_left import TimeLeft

MERGE_EVERY_S = 5.0
LOOK_EVERY_S = 0.5
LOOK_TIMES = 20.0
"""How far a search is, is looked at so often, and waits for so many times what the last look took: it grows with the members."""

SILENT_TIMES = 20.0
SILENT_S = 300.0
"""A worker is ended that gives no sign of life for so many times what its job was timed to take, and for at least so long."""

REMOVED_TIMES = 3
"""How often members whose files were removed while the search ran are trained again."""


def prepare(
    request: Request,
    *,
    write: bool = True,
    say: Callable[[str], None] = lambda text: None,
    ahead: RayAhead | None = None,
) -> Prepared:
    """Check the request whole, on the machines that will do the work; see tune_lb.tuning.preparation.prepare.

    ahead: starts where a run begins, when the request is found right.
    """
    check_answers(request.address)
    check_reach(request)
    ready = (lambda: None) if ahead is None else ahead.start
    machines = functools.partial(_machines, request, write=write)
    return preparation.prepare(request, write=write, nodes=machines, say=say, ready=ready)


def _machines(request: Request, files: Sequence[str], *, write: bool) -> list[Node]:
    if request.address is None:
        return this_machine()
    with ray_session(request.address):
        preflight(request, files, write=write)
        return resources_of_nodes()


class _Search:
    """A search under way: where it stands, and what is merged of it."""

    def __init__(self, prepared: Prepared, on_progress: Callable[[SearchProgress], None]) -> None:
        self.prepared, self.on_progress = prepared, on_progress
        self.run = prepared.request.run
        self.ledger = Ledger(self.run.child("ledger"))
        self.started = self.last_merge = time.monotonic()
        self.next_look = self.started
        self.time_left = TimeLeft(prepared.estimate.concurrency, RAY_START_S)
        self.removed = 0
        """Members whose files were removed since they were trained by this call."""
        self.cut: list[str] = []
        self.searcher: PlannedSearcher | None = None
        self.begin(prepared.stored.scored)

    def begin(self, scores: Scores) -> None:
        """Set the search to where these members are trained."""
        prepared = self.prepared
        self.state = replayed(prepared.request.space, prepared.facts, self.ledger, scores, _job_size(prepared))
        self.state.only = prepared.request.only
        self.merger = Merger(self.run, prepared.context.schema())

    @property
    def missing(self) -> int:
        """How many members are left to those who may train all, where this call may not."""
        if self.prepared.request.only is None:
            return 0
        return max(0, sum(arm.total - arm.done for arm in self.state.progress()) - len(self.state.failed))

    def watch(self, final: bool) -> None:
        """Merge what is new, and tell how far the search is."""
        now = time.monotonic()
        if final or now - self.last_merge > MERGE_EVERY_S:
            self.merger.add_new()
            self.merger.write_all() if final else self.merger.write()
            self.last_merge = now
            forget_stopped(self.state, self.run)
        if not final and now < self.next_look:
            return
        progress = search_progress(self.state, self.prepared, now - self.started, self.time_left)
        deadline_s = self.prepared.request.deadline_s
        if deadline_s is not None and progress.left_s is not None and self.searcher is not None:
            self._end_in_time(progress.left_s, deadline_s - now)
        waiting = 0 if self.searcher is None else self.searcher.waiting
        running = max(0, progress.running - waiting)
        self.on_progress(dataclasses.replace(progress, running=running, cut=tuple(self.cut)))
        took = time.monotonic() - now
        self.next_look = now + max(LOOK_EVERY_S, LOOK_TIMES * took)

    def _end_in_time(self, expected_s: float, there_s: float) -> None:
        """Cut what cannot be trained in the time that there is, and write down that it is not asked for any more."""
        found = cut_to_fit(self.state, self.prepared.estimate, expected_s, there_s)
        if found is None or self.searcher is None:
            return
        request = self.prepared.request
        request = dataclasses.replace(request, space=found.space, asked=asked_with_numbers(request.asked, found.space))
        self.prepared = dataclasses.replace(self.prepared, request=request, designs=checked_designs(found.space))
        self.state = self.searcher.search = moved(self.state, found.space)
        self.cut.append(found.said)
        self.describe()

    def describe(self) -> None:
        """Write space.json with what is asked for and selected."""
        of = self.prepared
        described = of.request, of.designs, of.context, of.facts, selected_ids(self.state), of.extended
        write_space(self.run, run_description(*described))

    def limit_s(self, job: Job) -> float:
        """Return how long a worker may be silent over a job, in seconds."""
        costs = {row.arm: row for row in self.prepared.estimate.arms}
        asked = self.prepared.request.silence_s
        return asked or max(SILENT_S, SILENT_TIMES * work_s(costs[job.arm], job, self.prepared.context))

    def all_is_stored(self) -> bool:
        """Look whether the members that this call saw are stored still; where some are not, begin where those that are left are."""
        self.merger.add_new()
        if not self.run.exists("predictions/targets.parquet"):
            write_run_targets(self.run, self.prepared)
        if not self.merger.removed():
            return True
        scores = stored_members(self.run, self.prepared.context).scored
        lost = halving.lost(self.state, scores)
        self.removed += len(lost)
        if lost:
            self.begin(scores)
        return not lost


def search(
    prepared: Prepared,
    ahead: RayAhead,
    on_progress: Callable[[SearchProgress], None] = lambda progress: None,
    on_lost: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> Ending:
    """Train what is missing. Interrupted by Ctrl-C or killed, the same call goes on later where this one ended.

    ahead: Ray, started or not; it ends here. on_lost: called from another thread when Ray's head process or this machine's
    raylet is gone; nothing can go on then. say: told what befalls workers and nodes, in lines. Raises StorageError where the
    storage fails; what was stored before stays.
    """
    run = prepared.request.run
    # a killed call leaves Ray's own state behind; nothing in it is needed
    run.child("ray").delete_all()
    for name in prepared.stored.failed:
        run.child("trials").delete(name)
    aside_before = set(run.child(FOLDER, "checkpoints").list())
    found = _Search(prepared, on_progress)
    interrupted = stopped = False
    if not found.state.finished:
        with ahead.session() as session, ray_watched(session, on_lost), storage_waited_for(say):
            try:
                for _ in range(REMOVED_TIMES):
                    stopped = _fit(found, session, say)
                    if stopped or found.all_is_stored():
                        break
            except KeyboardInterrupt:
                interrupted = True
                if not lives(session):
                    # a signal to every process of a cluster ended Ray's as well
                    on_lost()
    state, merger = found.state, found.merger
    # who interrupts does not want to wait
    with contextlib.nullcontext() if interrupted else storage_waited_for(say):
        found.watch(True)
        found.describe()
    if state.finished and not found.missing:
        # of stacks that other jobs trained since
        run.child("checkpoints").delete_all()
    again = [f"{line}; its members were trained again" for line in prepared.stored.left_out]
    left_out = list(dict.fromkeys([*again, *merger.problems, *found.ledger.problems]))
    damaged = [*prepared.stored.damaged, *set_aside_since(run, aside_before)]
    if found.removed:
        damaged.append(
            f"the files of {found.removed:,} member(s) were removed while the search ran; they were trained again"
        )
    status = "partial" if state.failed else "done"
    if interrupted or stopped or not state.finished:
        status = "interrupted" if interrupted else "stopped"
    missing = unmeasured(merger.table(), prepared.context)
    reasons = sorted(set(state.failed.values()))
    numbers = halving.num_there(state), len(state.failed)
    return Ending(status, *numbers, reasons, left_out, missing, damaged, tuple(found.cut), found.missing)


def _job_size(prepared: Prepared) -> JobSize:
    """Return how large jobs are: some seconds of work, for handing one out takes 20 to 50 ms, or what trains as one program."""
    members = {arm.arm: arm.core_s / max(1, arm.members) for arm in prepared.estimate.arms}
    of_arms = {arm: min(MEMBERS_PER_JOB, max(1, int(JOB_S / max(cost, 1e-9)))) for arm, cost in members.items()}
    of_arms = {arm: max(size, prepared.context.stacked.get(arm, 1)) for arm, size in of_arms.items()}
    costs = {arm.arm: arm for arm in prepared.estimate.arms}

    def weight(arm: str, stage: str, member: Member) -> float:
        return work_s(costs[arm], Job(arm, stage, (member,)), prepared.context) / max(members[arm], 1e-9)

    return JobSize(max([MEMBERS_PER_JOB, *of_arms.values()]), of_arms, prepared.estimate.concurrency, weight)


def _fit(found: _Search, session: Session, say: Callable[[str], None]) -> bool:
    """Let workers train what is missing; say whether the search was stopped, since they died one after the other."""
    prepared, state = found.prepared, found.state
    request, context = prepared.request, prepared.context
    travel_by_value(request.modules)
    resources = workers(request, resources_of_nodes())
    # what Tune writes of itself is not needed; only on a cluster must it lie where all nodes see it
    own = request.address is None and session.folder is not None
    state_folder = Store(session.folder or "").child("tune") if own else request.run.child("ray")
    total = sum(arm.total for arm in state.progress()) * 2 + 1000
    logs = None if session.folder is None else Path(session.folder, "logs")
    searcher = PlannedSearcher(
        state,
        found.ledger,
        attempt=f"{time.time():.0f}",
        logs=logs,
        node_of=(lambda worker: "")
        if request.address is None
        else (lambda worker: node_of_worker(worker, session.head)),
        share=resources.share,
    )
    found.searcher = searcher
    if request.deadline_s is not None:
        searcher.take_turns()
    busy = None if request.address is None else Busy(resources, cluster_amounts)
    tuner = tune.Tuner(
        worker_of(request, context, resources),
        param_space={},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=NewestFirst(),
            num_samples=total,
            max_concurrent_trials=resources.concurrency,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="state",
            storage_path=state_folder.root,
            storage_filesystem=None if state_folder.is_local else state_folder.filesystem,
            verbose=0,
            callbacks=[ProgressCallback(found.watch, searcher, found.limit_s, say, busy)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, num_to_keep=1),
            # the jobs catch their own exceptions, and the searcher hands out again those whose worker died
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    try:
        with environment_inherited() if request.address is None else contextlib.nullcontext():
            tuner.fit()
    finally:
        # what the storage refuses now was said, or is said by what comes next
        with contextlib.suppress(StorageError):
            state_folder.delete_all()
    if searcher.storage_problem:
        raise StorageError(searcher.storage_problem)
    return searcher.stopped

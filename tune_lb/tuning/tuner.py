"""The search on Ray: one Tuner over all arms, splits and stages, fed by the pure search and resumed from the results."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
}
for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)

from ray import tune  # noqa: E402  (Ray reads these variables when it is imported)
from ray.tune.search import Searcher  # noqa: E402

from tune_lb.results.damage import FOLDER  # noqa: E402
from tune_lb.results.ledger import Ledger  # noqa: E402
from tune_lb.results.merger import Merger  # noqa: E402
from tune_lb.results.run_files import write_space  # noqa: E402
from tune_lb.results.storage import Store  # noqa: E402
from tune_lb.search.job import Job  # noqa: E402
from tune_lb.search.job_size import JobSize  # noqa: E402
from tune_lb.search.planner import Search  # noqa: E402
from tune_lb.search.score import Score  # noqa: E402
from tune_lb.tuning import preparation  # noqa: E402
from tune_lb.tuning.cluster import check_answers, check_imports, check_shared, ray_session, resources_of_nodes  # noqa: E402
from tune_lb.tuning.preparation import Prepared  # noqa: E402
from tune_lb.tuning.progress import SearchProgress, search_progress  # noqa: E402
from tune_lb.tuning.reach import check_reach, travel_by_value  # noqa: E402
from tune_lb.tuning.recorded_proposals import record_proposals  # noqa: E402
from tune_lb.tuning.replay import replayed, selected_ids  # noqa: E402
from tune_lb.tuning.request import JOB_S, MEMBERS_PER_JOB, RAY_START_S, Request, workers  # noqa: E402
from tune_lb.tuning.resources import Node, this_machine  # noqa: E402
from tune_lb.tuning.resume import unmeasured  # noqa: E402
from tune_lb.tuning.run_description import run_description  # noqa: E402
from tune_lb.tuning.time_left import TimeLeft  # noqa: E402
from tune_lb.tuning.trainable import JobTrainable  # noqa: E402

MERGE_EVERY_S = 5.0
MAX_DEATHS = 4


@dataclass(frozen=True)
class Ending:
    """How a search ended: done, partial (some members failed), stopped (every worker died) or interrupted."""

    status: str
    members: int
    failed: int
    failures: list[str]
    """Why members failed or, where it was stopped, why workers died; one line each."""
    left_out: list[str]
    """One line per result file that could not be used."""
    unmeasured: dict[str, int] = field(default_factory=dict)
    """By metric the members that the search was killed over while it measured them."""
    damaged: list[str] = field(default_factory=list)
    """One line per damaged file that was set aside."""


class PlannedSearcher(Searcher):  # type: ignore[misc]
    """Hands the jobs of a Search to Tune, and what came out of them back to it.

    When several workers in a row die without a result (a package that is not there, a full disk), no more are started.
    """

    def __init__(self, search: Search, ledger: Ledger, attempt: str) -> None:
        super().__init__(metric="epoch", mode="max")
        self.search, self.ledger, self.attempt = search, ledger, attempt
        self.jobs: dict[str, Job] = {}
        self.death_reasons: dict[str, str] = {}
        self.deaths: list[str] = []
        """Reasons of workers that died since a job last came back: after a few, the cause is not the job."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next job, None while the rest waits for results, or the end."""
        if len(self.deaths) >= MAX_DEATHS:
            return str(Searcher.FINISHED)
        job = self.search.take()
        record_proposals(self.ledger, self.search.new_proposals())
        if job is None:
            return str(Searcher.FINISHED) if self.search.finished else None
        self.jobs[trial_id] = job
        return {"job": job}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take in the members' scores, or that there are none."""
        job = self.jobs.pop(trial_id, None)
        if job is None:
            return
        if result is not None and "errors" in result:
            self.deaths.clear()
            self.search.observe({(id, seed): Score(*score) for id, seed, score in json.loads(result["errors"])})
            failed = {(id, seed): str(reason) for id, seed, reason in json.loads(result.get("failures", "[]"))}
        else:
            reason = self.death_reasons.pop(trial_id, "the worker died")
            self.deaths.append(reason)
            failed = {member.key: reason for member in job.members if member.key not in self.search.scores}
        for reason in dict.fromkeys(failed.values()):
            keys = [key for key, own in failed.items() if own == reason]
            self.search.give_up(keys, reason)
            facts = {"arm": job.arm, "members": [f"{id}.{seed}" for id, seed in keys], "reason": reason}
            self.ledger.record(keys[0][0], f"failed.{self.attempt}.{keys[0][1]}", facts)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the state of a search is the set of its results."""
        with open(checkpoint_path, "wb"):
            pass

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, for the same reason."""


class ProgressCallback(tune.Callback):  # type: ignore[misc]
    """Merges results and reports progress while Tune runs."""

    def __init__(self, watch: Callable[[bool], None], death_reasons: dict[str, str]) -> None:
        self.watch, self.death_reasons = watch, death_reasons

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Keep the last line of what killed a worker; Tune does not tell it to the searcher."""
        error = trial.get_error()
        lines = str(error).strip().splitlines() if error is not None else []
        self.death_reasons[trial.trial_id] = f"the worker died: {lines[-1]}" if lines else "the worker died"

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks and never reads them back; this one holds the whole search
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look, at Tune's own pace."""
        self.watch(False)


def prepare(request: Request, *, write: bool = True) -> Prepared:
    """Check the request whole, on the machines that will do the work; see tune_lb.tuning.preparation.prepare."""
    check_answers(request.address)
    check_reach(request)
    return preparation.prepare(request, write=write, nodes=lambda: _machines(request))


def _machines(request: Request) -> list[Node]:
    if request.address is None:
        return this_machine()
    with ray_session(request.address):
        check_imports(request)
        return resources_of_nodes()


def search(prepared: Prepared, on_progress: Callable[[SearchProgress], None] = lambda progress: None) -> Ending:
    """Train what is missing. Interrupted by Ctrl-C or killed, the same call goes on later where this one ended."""
    request, space = prepared.request, prepared.request.space
    # a killed call leaves Ray's own state behind; nothing in it is needed
    request.run.child("ray").delete_all()
    for name in prepared.stored.failed:
        request.run.child("trials").delete(name)
    ledger = Ledger(request.run.child("ledger"))
    state = replayed(space, prepared.facts, ledger, prepared.stored.scored, _job_size(prepared))
    merger = Merger(request.run, prepared.context.schema())
    started = time.monotonic()
    last_merge = started
    aside_before = set(request.run.child(FOLDER, "checkpoints").list())
    time_left = TimeLeft(prepared.estimate.concurrency, RAY_START_S)

    def watch(final: bool) -> None:
        nonlocal last_merge
        now = time.monotonic()
        if final or now - last_merge > MERGE_EVERY_S:
            merger.add_new()
            merger.write_all() if final else merger.write()
            last_merge = now
        on_progress(search_progress(state, prepared, now - started, time_left))

    interrupted = False
    if not state.finished:
        with ray_session(request.address):
            try:
                _fit(prepared, state, ledger, watch)
            except KeyboardInterrupt:
                interrupted = True
    watch(True)
    described = request, prepared.designs, prepared.context, prepared.facts, selected_ids(state), prepared.extended
    write_space(request.run, run_description(*described))
    if state.finished:
        # of stacks that other jobs trained since
        request.run.child("checkpoints").delete_all()
    again = [f"{line}; its members were trained again" for line in prepared.stored.left_out]
    left_out = list(dict.fromkeys([*again, *merger.problems, *ledger.problems]))
    damaged = [*prepared.stored.damaged, *_set_aside_since(request.run, aside_before)]
    status = "partial" if state.failed else "done"
    if interrupted or not state.finished:
        status = "interrupted" if interrupted else "stopped"
    missing = unmeasured(merger.table(), prepared.context)
    reasons = sorted(set(state.failed.values()))
    return Ending(status, len(state.scores), len(state.failed), reasons, left_out, missing, damaged)


def _set_aside_since(run: Store, before: set[str]) -> list[str]:
    """Return a line for each checkpoint that a worker could not go on from."""
    names = [name for name in run.child(FOLDER, "checkpoints").list() if name not in before]
    return [
        f"checkpoints/{name} was damaged; it is set aside in {run.location}/{FOLDER}, and its members began anew"
        for name in names
    ]


def _job_size(prepared: Prepared) -> JobSize:
    """Return how large jobs are: some seconds of work, for handing one out takes 20 to 50 ms, or what trains as one program."""
    members = {arm.arm: arm.core_s / max(1, arm.members) for arm in prepared.estimate.arms}
    of_arms = {arm: min(MEMBERS_PER_JOB, max(1, int(JOB_S / max(cost, 1e-9)))) for arm, cost in members.items()}
    of_arms = {arm: max(size, prepared.context.stacked.get(arm, 1)) for arm, size in of_arms.items()}
    return JobSize(max([MEMBERS_PER_JOB, *of_arms.values()]), of_arms, prepared.estimate.concurrency)


def _fit(prepared: Prepared, state: Search, ledger: Ledger, watch: Callable[[bool], None]) -> None:
    request, context = prepared.request, prepared.context
    travel_by_value(request.modules)
    if request.address is not None:
        check_shared(request.run)
    resources = workers(request, resources_of_nodes())
    state_folder = request.run.child("ray")
    trainable = tune.with_resources(
        tune.with_parameters(
            JobTrainable,
            context=context,
            sources=dict(request.sources),
            threads=max(1, int(resources.cpus)),
            device="cuda" if resources.gpus else "cpu",
        ),
        {"cpu": resources.cpus, "gpu": resources.gpus},
    )
    total = sum(arm.total for arm in state.progress()) * 2 + 1000
    searcher = PlannedSearcher(state, ledger, attempt=f"{time.time():.0f}")
    tuner = tune.Tuner(
        trainable,
        param_space={},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
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
            callbacks=[ProgressCallback(watch, searcher.death_reasons)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, num_to_keep=1),
            # the jobs catch their own exceptions: what is retried is a worker that died
            failure_config=tune.FailureConfig(max_failures=2),
        ),
    )
    try:
        tuner.fit()
    finally:
        state_folder.delete_all()

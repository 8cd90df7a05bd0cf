"""What stands between the pure search and Tune: jobs go to workers, scores come back, and deaths of workers are told apart."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from tune_lb.results.ledger import Ledger
from tune_lb.results.storage import StorageError
from tune_lb.search.job import Job, MemberKey
from tune_lb.search.planner import Search
from tune_lb.search.score import Score
from tune_lb.tuning.busy import Busy
from tune_lb.tuning.deaths import Death, death_of, memory_kills
from tune_lb.tuning.gpu_share import larger_share
from tune_lb.tuning.job_trainable import SHARE
from tune_lb.tuning.job_tries import FAILURES_OF_NODE, JobTries
from tune_lb.tuning.quiet_ray import Searcher, tune
from tune_lb.tuning.recorded_proposals import record_proposals

DEATHS_OF_ARM = 2
"""Jobs of an arm that may end in a row with the death of their worker, each tried several times, before the arm is set aside."""

NOT_ON = "not_on"
"""In what a worker is asked: ids of nodes that it may not be on."""

DEAD_ARMS = 3
"""Arms that end so in a row before no more workers are started: then the cause is none of them."""


class PlannedSearcher(Searcher):  # type: ignore[misc]
    """Hands the jobs of a Search to Tune, and what came out of them back to it.

    A job whose worker died is handed out again, as far as JobTries says, and goes on from its checkpoint in another worker. An arm
    whose jobs kill their workers is set aside: its members are given up for this call, and the others go on. When arm after arm
    dies without a result (a package that is not there), or the storage fails, no more jobs are started.
    logs: where workers on this machine write what they say last. node_of: the id of the node of a worker, from Ray's id of it.
    share: of a GPU, that workers have.
    """

    def __init__(
        self,
        search: Search,
        ledger: Ledger,
        attempt: str,
        logs: Path | None = None,
        node_of: Callable[[str], str] = lambda worker: "",
        share: float = 1.0,
    ) -> None:
        super().__init__(metric="epoch", mode="max")
        self.search, self.ledger, self.attempt, self.logs, self.node_of = search, ledger, attempt, logs, node_of
        self.tries = JobTries()
        self.share = share
        self.shares: dict[str, float] = {}
        """Of arms that need more of a GPU."""
        self.again: list[Job] = []
        """Jobs whose workers died, to be handed out again."""
        self.all_trials: list[Any] = []
        self.notes: list[str] = []
        """What is to be said."""
        self.workers: dict[str, str] = {}
        """Ray's ids of the workers that Tune's trials are in."""
        self.memory_kills = memory_kills()
        self.jobs: dict[str, Job] = {}
        self.trials: dict[str, Any] = {}
        """Tune's trials, which know what ended them."""
        self.ended: dict[str, Death] = {}
        """Jobs whose workers we ended ourselves."""
        self.deaths: list[str] = []
        """Arms of jobs whose workers died since a job last came back."""
        self.set_aside: dict[str, str] = {}
        """Arms that are set aside in this call, and why."""
        self.came_back = False
        self.storage_problem = ""
        self.given: Counter[str] | None = None
        """Members handed out by arm, where arms take turns; None: arm after arm."""

    def take_turns(self) -> None:
        """Hand out the members of the arm that has had the fewest first, so that no arm is far ahead when the time is over."""
        self.given = Counter({arm.name: arm.done for arm in self.search.progress()})

    @property
    def stopped(self) -> bool:
        """Whether the cause of the deaths is no single arm: many died in a row, or all and nothing came back."""
        return len(set(self.deaths)) >= DEAD_ARMS or (bool(self.deaths) and not self.came_back and self.search.finished)

    @property
    def waiting(self) -> int:
        """How many jobs that were handed out have no worker yet."""
        return len(self.jobs.keys() - self.workers.keys())

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next job, None while the rest waits for results, or the end."""
        if self.stopped or self.storage_problem:
            return str(Searcher.FINISHED)
        try:
            for arm, reason in self.set_aside.items():
                self._give_up(arm, self.search.ready(arm), reason)
            given = self.given
            order = () if given is None else sorted(self.search.arms, key=given.__getitem__)
            again = bool(self.again)
            job = self.again.pop(0) if again else self.search.take(order)
            record_proposals(self.ledger, self.search.new_proposals())
        except StorageError as error:
            self.storage_problem = str(error)
            return str(Searcher.FINISHED)
        if job is None:
            return str(Searcher.FINISHED) if self.search.finished else None
        self.jobs[trial_id] = job
        if given is not None and not again:
            given[job.arm] += len(job.members)
        asked = {"job": job, NOT_ON: tuple(sorted(self.tries.set_aside))}
        return asked | ({SHARE: self.shares[job.arm]} if job.arm in self.shares else {})

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take in the members' scores, or that there are none."""
        job, trial = self.jobs.pop(trial_id, None), self.trials.pop(trial_id, None)
        worker = self.workers.pop(trial_id, "")
        if job is None:
            return
        failed: dict[MemberKey, str] = {}
        if result is not None and "errors" in result:
            self.deaths.clear()
            self.came_back = True
            scores = {(id, seed): Score(*score) for id, seed, score in json.loads(result["errors"])}
            self.search.observe(scores)
            reasons = json.loads(result.get("failures", "[]"))
            failed = {(id, seed): f"arm {job.arm!r}: {reason}" for id, seed, reason in reasons}
            if scores:
                self.tries.trained(job, self.node_of(worker))
            elif failed:
                self.tries.failed(job, self.node_of(worker), next(iter(failed.values())))
            self.storage_problem = str(result.get("storage", "")) or self.storage_problem
        else:
            trial = trial or next((t for t in reversed(self.all_trials) if t.trial_id == trial_id), None)
            ended, said = self.ended.pop(trial_id, None), _said(trial)
            death = ended or self.death(said)
            if ended is None and death.share_too_small and self._has_more(job.arm):
                self.again.append(job)
                return
            found = re.search(r"actor_id[:=] ?(\w+)", said)
            if ended is None and self.tries.again(job, death, self.node_of(found[1] if found else worker)):
                self.again.append(job)
                if death.lost:
                    self.notes.append(
                        f"{death.cause}: its job of arm {job.arm!r} goes on elsewhere, from its checkpoint"
                    )
                return
            reason = self._died(job, death)
            failed = {member.key: reason for member in job.members if member.key not in self.search.scores}
        for reason in dict.fromkeys(failed.values()):
            try:
                self._give_up(job.arm, [key for key, own in failed.items() if own == reason], reason)
            except StorageError as error:
                self.storage_problem = str(error)

    def _has_more(self, arm: str) -> bool:
        """Give the jobs of an arm a larger share of a GPU; say whether there is one."""
        share = self.shares.get(arm, self.share)
        if share >= 1.0:
            return False
        self.shares[arm] = larger_share(share)
        self.notes.append(
            f"arm {arm!r} does not fit into {share:g} of a GPU's memory: its jobs go on with {self.shares[arm]:g}, in new workers"
        )
        return True

    def death(self, said: str) -> Death:
        """Return what a worker died of, from Ray's error."""
        before, self.memory_kills = self.memory_kills, memory_kills()
        return death_of(said, self.logs, memory_was_full=self.memory_kills > before)

    def _died(self, job: Job, death: Death) -> str:
        """Take in that a job's workers died; return why its members are given up."""
        self.deaths.append(job.arm)
        if not death.itself and self.deaths.count(job.arm) < DEATHS_OF_ARM:
            return f"arm {job.arm!r}: {death.cause}"
        reason = f"arm {job.arm!r} is set aside: {death.cause}"
        self.set_aside.setdefault(job.arm, reason)
        return reason

    def _give_up(self, arm: str, keys: list[MemberKey], reason: str) -> None:
        if keys:
            self.search.give_up(keys, reason)
            facts = {"arm": arm, "members": [f"{id}.{seed}" for id, seed in keys], "reason": reason}
            self.ledger.record(keys[0][0], f"failed.{self.attempt}.{keys[0][1]}", facts)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the state of a search is the set of its results."""
        with open(checkpoint_path, "wb"):
            pass

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing, for the same reason."""


class ProgressCallback(tune.Callback):  # type: ignore[misc]
    """Merges results and reports progress while Tune runs, and ends workers that show no sign of life.

    limit_s: how long a worker may be silent over a job, in seconds. say: is told what befell workers, in lines.
    busy: says what they wait for, on a cluster.
    """

    def __init__(
        self,
        watch: Callable[[bool], None],
        searcher: PlannedSearcher,
        limit_s: Callable[[Job], float] | None = None,
        say: Callable[[str], None] = lambda line: None,
        busy: Busy | None = None,
    ) -> None:
        self.watch, self.searcher, self.limit_s, self.say, self.busy = watch, searcher, limit_s, say, busy
        self.said: set[str] = set()
        self.heard: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Know the trial that a job is, and its worker."""
        self.searcher.trials[trial.trial_id] = trial
        actor = trial.temporary_state.ray_actor
        self.searcher.workers[trial.trial_id] = "" if actor is None else actor._actor_id.hex()
        self.heard[trial.trial_id] = time.monotonic()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """Hear from a worker."""
        self.heard[trial.trial_id] = time.monotonic()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Know all trials: one may die before it starts."""
        self.searcher.all_trials = trials

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks and never reads them back; this one holds the whole search
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look, at Tune's own pace."""
        self._end_silent()
        self._say()
        started = time.monotonic()
        try:
            self.watch(False)
        except StorageError as error:
            self.searcher.storage_problem = str(error)
        # while this process waited for the storage, nobody was heard
        took = time.monotonic() - started
        self.heard = {trial_id: heard + took for trial_id, heard in self.heard.items()}

    def _say(self) -> None:
        """Say what happened, each line once."""
        for node, cause in self.searcher.tries.set_aside.items():
            self.searcher.notes.append(
                f"node {node[:8]} gets no more jobs of this search: {FAILURES_OF_NODE} in a row failed there, of arms that other "
                f"nodes train (the last: {cause})"
            )
        if self.busy is not None:
            line = self.busy.line(len(self.searcher.workers), self.searcher.waiting)
            self.say(line) if line else None
        for line in self.searcher.notes:
            if line not in self.said:
                self.said.add(line)
                self.say(line)
        self.searcher.notes.clear()

    def _end_silent(self) -> None:
        """End workers from which nothing was heard for longer than their job may take; it is not tried again in this call."""
        now = time.monotonic()
        for trial_id, job in self.searcher.jobs.items() if self.limit_s is not None else ():
            trial, limit_s = self.searcher.trials.get(trial_id), self.limit_s(job)  # type: ignore[misc]
            actor = None if trial is None else trial.temporary_state.ray_actor
            if (
                trial is None
                or actor is None
                or now - self.heard.get(trial_id, now) <= limit_s
                or trial_id in self.searcher.ended
            ):
                continue
            cause = (
                f"the worker gave no sign of life for {limit_s:.0f} s and was ended (the limit is 20 times what its members were "
                "timed to take, at least 5 min; --silence-limit T sets another)"
            )
            self.searcher.ended[trial_id] = Death(cause, itself=False)
            ray.kill(actor)


def _said(trial: Any) -> str:
    """Return Ray's error over one of Tune's trials; where the state of Tune is on another machine, from what it wrote here."""
    if trial is None:
        return ""
    path = Path(getattr(trial, "error_file", None) or "")
    return path.read_text(errors="replace") if path.is_file() else str(trial.get_error() or "")

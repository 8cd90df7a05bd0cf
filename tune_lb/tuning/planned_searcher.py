"""What stands between the pure search and Tune: jobs go to workers, scores come back, and deaths of workers are told apart."""

from __future__ import annotations

import json
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
from tune_lb.tuning.deaths import Death, death_of
from tune_lb.tuning.quiet_ray import Searcher, tune
from tune_lb.tuning.recorded_proposals import record_proposals

DEATHS_OF_ARM = 2
"""Jobs of an arm that may end in a row with the death of their worker, each tried several times, before the arm is set aside."""

DEAD_ARMS = 3
"""Arms that end so in a row before no more workers are started: then the cause is none of them."""


class PlannedSearcher(Searcher):  # type: ignore[misc]
    """Hands the jobs of a Search to Tune, and what came out of them back to it.

    An arm whose jobs kill their workers is set aside: its members are given up for this call, and the others go on. When arm after
    arm dies without a result (a package that is not there), or the storage fails, no more jobs are started.
    logs: where workers on this machine write what they say last.
    """

    def __init__(self, search: Search, ledger: Ledger, attempt: str, logs: Path | None = None) -> None:
        super().__init__(metric="epoch", mode="max")
        self.search, self.ledger, self.attempt, self.logs = search, ledger, attempt, logs
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

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next job, None while the rest waits for results, or the end."""
        if self.stopped or self.storage_problem:
            return str(Searcher.FINISHED)
        try:
            for arm, reason in self.set_aside.items():
                self._give_up(arm, self.search.ready(arm), reason)
            given = self.given
            job = self.search.take(() if given is None else sorted(self.search.arms, key=given.__getitem__))
            record_proposals(self.ledger, self.search.new_proposals())
        except StorageError as error:
            self.storage_problem = str(error)
            return str(Searcher.FINISHED)
        if job is None:
            return str(Searcher.FINISHED) if self.search.finished else None
        self.jobs[trial_id] = job
        if given is not None:
            given[job.arm] += len(job.members)
        return {"job": job}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take in the members' scores, or that there are none."""
        job, trial = self.jobs.pop(trial_id, None), self.trials.pop(trial_id, None)
        if job is None:
            return
        failed: dict[MemberKey, str] = {}
        if result is not None and "errors" in result:
            self.deaths.clear()
            self.came_back = True
            self.search.observe({(id, seed): Score(*score) for id, seed, score in json.loads(result["errors"])})
            found = json.loads(result.get("failures", "[]"))
            failed = {(id, seed): f"arm {job.arm!r}: {reason}" for id, seed, reason in found}
            self.storage_problem = str(result.get("storage", "")) or self.storage_problem
        else:
            reason = self._died(job, self.ended.pop(trial_id) if trial_id in self.ended else self.death(trial))
            failed = {member.key: reason for member in job.members if member.key not in self.search.scores}
        for reason in dict.fromkeys(failed.values()):
            try:
                self._give_up(job.arm, [key for key, own in failed.items() if own == reason], reason)
            except StorageError as error:
                self.storage_problem = str(error)

    def death(self, trial: Any) -> Death:
        """Return what the worker of one of Tune's trials died of the last time."""
        return death_of(str((trial.get_error() if trial is not None else None) or ""), self.logs)

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

    limit_s: how long a worker may be silent over a job, in seconds.
    """

    def __init__(
        self, watch: Callable[[bool], None], searcher: PlannedSearcher, limit_s: Callable[[Job], float] | None = None
    ) -> None:
        self.watch, self.searcher, self.limit_s = watch, searcher, limit_s
        self.heard: dict[str, float] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Know the trial that a job is."""
        self.searcher.trials[trial.trial_id] = trial
        self.heard[trial.trial_id] = time.monotonic()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """Hear from a worker."""
        self.heard[trial.trial_id] = time.monotonic()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Try a job only once more that has ended its worker itself."""
        if self.searcher.death(trial).itself:
            trial.max_failures = 1

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks and never reads them back; this one holds the whole search
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look, at Tune's own pace."""
        self._end_silent()
        try:
            self.watch(False)
        except StorageError as error:
            self.searcher.storage_problem = str(error)

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
            trial.max_failures = 0
            ray.kill(actor)

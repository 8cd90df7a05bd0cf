"""Jobs made by hand: members of one trial, each seed in the block that a search would give it."""

from __future__ import annotations

from collections.abc import Sequence

from tune_lb.data.device import Parts
from tune_lb.search.job import Job, Member
from tune_lb.search.score import Score
from tune_lb.training.trial import Trial
from tune_lb.tuning.run_context import RunContext
from tune_lb.tuning.running_job import RunningJob


def job_of(of: Trial, seeds: Sequence[int] = (0, 1), stage: str = "search", fingerprint: str = "data") -> Job:
    trial_id, configuration_id = of.trial_id(fingerprint), of.configuration_id()
    members = [Member(of, trial_id, seed, seed % 1000, {}, configuration_id) for seed in seeds]
    return Job(of.arm, stage, tuple(members))


def work_on(job: Job, parts: Parts, context: RunContext) -> RunningJob:
    return RunningJob(job, lambda trial: parts, context)


def finished(work: RunningJob) -> dict[tuple[str, int], Score]:
    """Work a job off, in steps as small as they can be; what a member raised is raised."""
    while not work.advance(0.0):
        pass
    return work.finish()

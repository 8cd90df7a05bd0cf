"""A whole search in this process: the planner, its jobs worked off one after the other, and the files that they leave. No Ray."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tune_lb.data.device import on_device
from tune_lb.results.run_files import merge
from tune_lb.results.storage import Store
from tune_lb.search.data_facts import DataFacts
from tune_lb.search.job import Job
from tune_lb.search.planner import Search
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.tuning.run_context import RunContext, make_context
from tune_lb.tuning.running_job import RunningJob


class Here:
    """A search of a space in a folder. execution: how members train; stacked: most members of a program."""

    def __init__(self, folder: Path, space: Space, execution: str = "alone", stacked: int = 1) -> None:
        self.designs = checked_designs(space)
        self.sets = {
            seed: space.data.load(seed) for seed in (0, *range(1000, 1010), *range(1500, 1510), *range(2000, 2030))
        }
        ways = {design.name: execution for design in self.designs}
        context = make_context("run", Store(folder), space, self.designs, self.sets, ways)
        sizes = {design.name: stacked for design in self.designs}
        self.context: RunContext = dataclasses.replace(context, stacked=sizes, checkpoint_every_s=0.0)
        first = self.sets[0]
        self.search = Search(space, DataFacts("data", len(first.validation.targets), first.num_classes))
        self.jobs: list[Job] = []

    def work(self, job: Job) -> RunningJob:
        """Return a job at its beginning, or where a killed one left it."""
        return RunningJob(job, lambda trial: on_device(self.sets[trial.split_seed], "cpu"), self.context)

    def end(self) -> Here:
        """Work off all that is left."""
        while (job := self.search.take()) is not None:
            self.jobs.append(job)
            work = self.work(job)
            while not work.advance(0.0):
                pass
            self.search.observe(work.finish())
            for key, reason in work.failures.items():
                self.search.give_up([key], reason)
        merge(self.context.store, self.context.schema())
        return self

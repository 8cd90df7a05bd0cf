"""Trainings of several trials that advance as one stack: members that differ in numbers, seeds and data alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tune_lb.data.device import Parts
from tune_lb.search.job import Job
from tune_lb.training.stack import Stack
from tune_lb.training.stacking import stack_key
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.tuning.run_context import RunContext
from tune_lb.tuning.running_training import RunningTraining
from tune_lb.tuning.siblings import Siblings

TOGETHER = "together"
COMPILED_TOGETHER = "compiled_together"


class RunningProgram:
    """Several running trainings, advanced together; each keeps its training, what is observed of it, and its checkpoint.

    compiled: the members of a compiled program, None for an eager stack.
    """

    def __init__(self, works: Sequence[RunningTraining], compiled: int | None = None) -> None:
        self.works = list(works)
        for work in works:
            work.observer.travel.begin()
        self.stack = Stack([_training(work) for work in works], compiled)

    @property
    def done(self) -> bool:
        """Say whether every training is as far as it is to be: those of a stack come to a look at the same update."""
        return all(work.done for work in self.works)

    def advance(self, at_least_s: float) -> bool:
        """Train for at least so many seconds, in whole epochs; say whether training is done."""
        started = time.monotonic()
        while not self.done:
            going = [work for work in self.works if not work.training.done]
            before = time.perf_counter()
            rows = self.stack.advance()
            seconds = (time.perf_counter() - before) / len(going)
            for work, own in zip(self.works, rows, strict=True):
                if work in going:
                    work.keep(work.observer.saw(own, seconds))
            if time.monotonic() - started >= at_least_s:
                break
        return self.done


def begun_together(
    job: Job, waiting: Sequence[Siblings], parts_of: Callable[[Trial], Parts], context: RunContext, largest: int
) -> tuple[RunningTraining | RunningProgram, list[Siblings]]:
    """Return the training of the first siblings in progress, with those after them that train as one program with them, at most so
    many members; and the siblings that are in it."""
    first = _alone(job, waiting[0], parts_of, context)
    key = _key(first)
    if key is None:
        # eagerly: a program of its own would be compiled for these few
        return RunningTraining(job, waiting[0], parts_of(waiting[0].trial), context, TOGETHER), [waiting[0]]
    found, members = [first], len(waiting[0].members)
    for siblings in waiting[1:]:
        if members + len(siblings.members) > largest:
            break
        try:
            work = _alone(job, siblings, parts_of, context)
        except (Exception, SystemExit):  # of the user's own code: it is raised again where they train by themselves
            continue
        if _key(work) == key:
            found.append(work)
            members += len(siblings.members)
    compiled = largest if context.execution[job.arm] == COMPILED_TOGETHER else None
    return RunningProgram(found, compiled) if members > 1 else first, [work.siblings for work in found]


def _alone(job: Job, siblings: Siblings, parts_of: Callable[[Trial], Parts], context: RunContext) -> RunningTraining:
    return RunningTraining(job, siblings, parts_of(siblings.trial), context, way="alone")


def _key(work: RunningTraining) -> str | None:
    apart = work.observer.looks_inside_epochs or not isinstance(work.training, Training)
    return None if apart else stack_key(_training(work))


def _training(work: RunningTraining) -> Training:
    if not isinstance(work.training, Training):
        raise TypeError("a training in phases trains by itself")
    return work.training

"""Stacks of several trials that train as one program: members that differ in numbers, seeds and data alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tune_lb.data.device import Parts
from tune_lb.search.job import Job
from tune_lb.training import stack as program
from tune_lb.training.stacking import stack_key
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial
from tune_lb.tuning.run_context import RunContext
from tune_lb.tuning.running_stack import RunningStack
from tune_lb.tuning.stacks import Stack

TOGETHER = "together"


class RunningProgram:
    """Several running stacks, advanced together; each keeps its training, what is observed of it, and its checkpoint."""

    def __init__(self, works: Sequence[RunningStack]) -> None:
        self.works = list(works)
        self.program = program.Stack([_training(work) for work in works])

    def advance(self, at_least_s: float) -> bool:
        """Train for at least so many seconds, in whole epochs; say whether training is done."""
        started = time.monotonic()
        while not self.program.done:
            going = [work for work in self.works if not work.training.done]
            before = time.perf_counter()
            rows = self.program.advance()
            seconds = (time.perf_counter() - before) / len(going)
            for work, own in zip(self.works, rows, strict=True):
                if work in going:
                    work.keep(work.observer.saw(own, seconds))
            if time.monotonic() - started >= at_least_s:
                break
        return self.program.done


def begun_together(
    job: Job, waiting: Sequence[Stack], parts_of: Callable[[Trial], Parts], context: RunContext, largest: int
) -> tuple[RunningStack | RunningProgram, list[Stack]]:
    """Return the first stack in progress, with those after it that train as one program with it, at most so many members; and
    the stacks that are in it."""
    first = _alone(job, waiting[0], parts_of, context)
    key = _key(first)
    if key is None:
        return RunningStack(job, waiting[0], parts_of(waiting[0].trial), context), [waiting[0]]
    found, members = [first], len(waiting[0].members)
    for stack in waiting[1:]:
        if members + len(stack.members) > largest:
            break
        try:
            work = _alone(job, stack, parts_of, context)
        except (Exception, SystemExit):  # of the user's own code: it is raised again where the stack trains by itself
            continue
        if _key(work) == key:
            found.append(work)
            members += len(stack.members)
    return RunningProgram(found) if members > 1 else first, [work.stack for work in found]


def _alone(job: Job, stack: Stack, parts_of: Callable[[Trial], Parts], context: RunContext) -> RunningStack:
    return RunningStack(job, stack, parts_of(stack.trial), context, way="alone")


def _key(work: RunningStack) -> str | None:
    apart = work.observer.looks_inside_epochs or not isinstance(work.training, Training)
    return None if apart else stack_key(_training(work))


def _training(work: RunningStack) -> Training:
    if not isinstance(work.training, Training):
        raise TypeError("a training in phases trains by itself")
    return work.training

"""Whether compiling pays: tried where the work of a search is long enough, counted against what compiling takes."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence

import torch

from tune_lb.data.device import Parts
from tune_lb.optimizers.of_members import has_member_form, program_of
from tune_lb.search.proposers import proposers
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.training.compiled_step import program_key
from tune_lb.training.trial import Trial
from tune_lb.tuning.running_program import COMPILED_TOGETHER, TOGETHER
from tune_lb.tuning.timed_updates import seconds_in_compiled_stack, seconds_per_update
from tune_lb.tuning.timing_clock import TimingClock

COMPILATION_S = 30.0
"""What compiling a program is taken to cost in each process, before it has been tried."""

WORTH = 5.0
"""Compiling is tried where the eager training would take this many times as long as it is taken to cost."""

NOT_COMPILED = "compiled training, which a search times too and takes where it is faster, is not tried in a dry run"

STACKS = "stacks"
"""Programs of stacks: numbers of the optimiser enter them as tensors, as those of remedies do in all."""


def compiled_if_faster(
    trial: Trial,
    parts: Parts,
    members: int,
    microbatch: int | str | None,
    timed: dict[str, float],
    stacks: Mapping[int, float],
    way: str,
    work_s: float,
    compilations: Mapping[str, int],
    notes: list[str],
    *,
    compiles: bool = True,
    clock: TimingClock | None = None,
) -> str:
    """Return the fastest way with the compiled ones tried, where there is work enough to pay for them; add their times.

    compiles: whether they are tried; else there is a note. stacks: seconds of an update by members of a stack. work_s: of the whole
    search in the way. compilations: see num_programs, in all processes.
    """
    costs, begun_with = {way: work_s}, timed[way]
    for eager in [name for name in timed if name != TOGETHER or members > 1 or stacks]:
        number = compilations[STACKS if stacks and eager == TOGETHER else eager]
        if work_s < WORTH * COMPILATION_S * number or not can_compile(parts.train.device):
            continue
        if not compiles:
            notes += [] if NOT_COMPILED in notes else [NOT_COMPILED]
            continue
        if clock is not None:
            clock.say(f"compiling updates of {trial.batch_size:,} examples, which takes half a minute or more")
        compiled, started = f"compiled_{eager}", time.perf_counter()
        try:
            if stacks and eager == TOGETHER:
                found = compiled_stack_timed(trial, parts, stacks, microbatch)
            else:
                found = {compiled: seconds_per_update(trial, parts, compiled, members, microbatch)}
        except Exception as error:  # whatever code of the user's raises in this way
            notes.append(f"training is not compiled: {first_line(error)}")
            continue
        compilation_s = time.perf_counter() - started
        timed |= found
        costs |= {name: work_s * own / begun_with + compilation_s * number for name, own in found.items()}
    return min(costs, key=lambda name: costs[name])


def compiled_stack_timed(
    trial: Trial, parts: Parts, stacks: Mapping[int, float], microbatch: int | str | None
) -> dict[str, float]:
    """Return the seconds of an update of a member in compiled stacks as large as is fastest eagerly; empty where there are none."""
    seconds = seconds_in_compiled_stack(trial, parts, min(stacks, key=lambda size: stacks[size]), microbatch)
    return {} if seconds is None else {COMPILED_TOGETHER: seconds}


def num_programs(space: Space, designs: Sequence[ArmDesign], like: Trial) -> dict[str, int]:
    """Return how many compiled programs the configurations of arms would need, by the way that is compiled."""
    of_steps, of_stacks = 0, 0
    for design in designs:
        sampler = proposers(space, [design])[design.name]
        asked = range(design.num_samples if design.dimensions and not space.sampler.learns else 1)
        trials = [design.template.resolved(sampler.propose(i, [])) for i in asked]
        of_steps += len({program_key(trial, "") for trial in trials})
        of_stacks += len({_in_stacks(trial, like) for trial in trials})
    return {"alone": of_steps, TOGETHER: of_steps, STACKS: of_stacks}


def _in_stacks(trial: Trial, like: Trial) -> str:
    if not has_member_form(trial.optimizer):
        return program_key(trial, "")
    return program_key(dataclasses.replace(trial, optimizer=like.optimizer), program_of(trial.optimizer))


def can_compile(device: torch.device) -> bool:
    """Say whether torch.compile has what it needs: a C++ compiler, and Triton for a GPU."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    triton = device.type != "cuda" or importlib.util.find_spec("triton") is not None
    return shutil.which(compiler) is not None and triton


def first_line(error: Exception) -> str:
    """Return the first line of what an exception says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

"""Execution: which way of training is the fastest for a search, decided once, before it starts, from steps timed here."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from tune_lb.data.device import Parts
from tune_lb.errors import RequestError, defined_at, one_line, own_line, user_code
from tune_lb.optimizers.building import NotSeparable
from tune_lb.search.proposers import proposers
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.training.compiled_step import program_key
from tune_lb.training.network_check import Finding
from tune_lb.training.trial import Trial
from tune_lb.training.ways import AUTO
from tune_lb.tuning.light_trials import light
from tune_lb.tuning.timed_updates import TIMED_S, seconds_in_stacks, seconds_per_update

TOGETHER = "together"

COMPILATION_S = 30.0
"""What compiling a program is taken to cost in each process, before it has been tried."""

WORTH = 5.0
"""Compiling is tried where the eager training would take this many times as long as it is taken to cost."""

NOT_COMPILED = "compiled training, which a search times too and takes where it is faster, is not tried in a dry run"


@dataclass
class Execution:
    """How each arm is trained, and what an update of one member then takes, in seconds."""

    ways: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    stacked: dict[str, int] = field(default_factory=dict)
    """Most members of an arm that train as one program, where they are trained together."""
    notes: list[str] = field(default_factory=list)
    """What could not be used and why, a line each."""


def choose_execution(
    space: Space,
    designs: Sequence[ArmDesign],
    trials: Mapping[str, Trial],
    parts: Mapping[str, Parts],
    *,
    members: int,
    updates: Mapping[str, int],
    processes: int,
    findings: Mapping[str, Finding],
    known: Mapping[str, str] | None = None,
    most: Mapping[str, int] | None = None,
    compiles: bool = True,
) -> Execution:
    """Return the fastest way of training for each arm, among those that work for it.

    trials: something to time, by arm. parts: the data of each arm. members: how many a stack holds where most
    of the time goes. updates: those of all the members of an arm together. processes: how many compile. findings: of the
    check of networks, by arm. known: the ways of a run that goes on. most: members of an arm that a job may hold.
    compiles: without it no compiled way is tried, which takes minutes for a large network; a note says so where it might pay.
    Arms of one batch size share the decision, made on the first of them: results of different ways differ to rounding, and
    what is compared at equal batch should not. A way that fails (a model that torch.func cannot vectorise) is left out with
    a note. Raises RequestError where the one way that the space asks for fails.
    """
    found = Execution()
    classes: dict[int, list[str]] = {}
    for arm, trial in trials.items():
        classes.setdefault(trial.batch_size, []).append(arm)
    for arms in classes.values():
        meant, before = trials[arms[0]], known[arms[0]] if known and arms[0] in known else None
        first, times = light(meant, parts[arms[0]], space.microbatch)
        # where one update takes seconds nothing is gained by several members at once
        each = members if first is meant else 1
        plain = [reason for arm in arms for reason in findings[arm].reasons]
        if plain:
            before = _plainly(space, arms, plain[0], before)
        timed = _timed(space, first, parts[arms[0]], each, before, found.notes, findings[arms[0]].draws)
        largest = max((most or {}).get(arm, 1) for arm in arms)
        stacks: dict[int, float] = {}
        if (
            first is meant
            and before in (None, TOGETHER)
            and space.execution in (AUTO, TOGETHER)
            and not plain
            and not findings[arms[0]].draws
        ):
            stacks = _stacks(first, parts[arms[0]], largest, space.microbatch, found.notes)
        if stacks:
            timed[TOGETHER] = min(*stacks.values(), timed.get(TOGETHER, math.inf))
        way = min(timed, key=lambda name: timed[name])
        if known is None and space.execution == "auto" and not plain and not findings[arms[0]].draws:
            programs = sum(_num_programs(space, design) for design in designs if design.name in arms)
            gradients = sum(updates[arm] * trials[arm].evaluations_per_update for arm in arms)
            work_s = gradients * (1.0 if first is meant else times / meant.evaluations_per_update) * timed[way]
            if _may_pay(work_s, programs * processes, parts[arms[0]].train.device):
                if compiles:
                    way = _compiled_if_faster(
                        *(
                            first,
                            parts[arms[0]],
                            each,
                            space.microbatch,
                            timed,
                            way,
                            work_s,
                            programs * processes,
                            found.notes,
                        )
                    )
                elif NOT_COMPILED not in found.notes:
                    found.notes.append(NOT_COMPILED)
        for arm in arms:
            found.ways[arm] = way
            if way == TOGETHER and stacks:
                found.stacked[arm] = min(stacks, key=lambda size: stacks[size])
            if first is not meant:
                found.seconds[arm] = (
                    timed[way] * times * trials[arm].evaluations_per_update / meant.evaluations_per_update
                )
                continue
            found.seconds[arm] = (
                timed[way]
                if arm == arms[0] or (parts[arm] is parts[arms[0]] and _same_program(trials[arm], first, way))
                else _seconds(space, trials[arm], parts[arm], way, members, timed[way], first, stacked=bool(stacks))
            )
    return found


def _plainly(space: Space, arms: Sequence[str], reason: str, before: str | None) -> str:
    """Return the one way for networks that are no function of their tensors; refuse another that was asked for or begun with."""
    if before not in (None, "plain"):
        raise RequestError(
            f"arm {arms[0]!r}: the run was begun with execution = {before!r}, which is wrong for its network ({reason}); give the "
            "search another name"
        )
    if space.execution not in (AUTO, "plain"):
        raise RequestError(
            f"arm {arms[0]!r}: execution = {space.execution!r} is wrong for its network ({reason}); take 'auto' or 'plain'"
        )
    return "plain"


def _timed(
    space: Space,
    trial: Trial,
    parts: Parts,
    members: int,
    known: str | None,
    notes: list[str],
    draws: Sequence[str] = (),
) -> dict[str, float]:
    asked = known or (None if space.execution == "auto" else space.execution)
    if asked is not None:
        try:
            return {asked: seconds_per_update(trial, parts, asked, members, space.microbatch)}
        except torch.OutOfMemoryError as error:
            raise RequestError(f"arm {trial.arm!r}: {error}") from error
        except RequestError:
            raise
        except Exception as error:  # whatever code of the user's raises in this way
            said = one_line(error, defined_at(trial.model))
            raise RequestError(f"execution = {asked!r} does not work for arm {trial.arm!r}: {said}") from error
    try:
        timed = {"alone": _seconds_alone(trial, parts, members, space.microbatch)}
    except torch.OutOfMemoryError as error:
        raise RequestError(f"arm {trial.arm!r}: {error}") from error
    if members > 1 and not trial.budget.watches_loss and not draws:
        try:
            timed["together"] = seconds_per_update(trial, parts, "together", members, space.microbatch)
        except torch.OutOfMemoryError as error:
            notes.append(f"members are trained one at a time: together they do not fit ({_line(error)})")
        except NotSeparable as error:
            notes += [] if (note := f"members are trained one at a time: {error}") in notes else [note]
        except Exception as error:  # it works alone, so it is the vectorised way that code of the user's does not go
            note = "members are trained one at a time: torch.func cannot vectorise the model "
            note += f"({_unvectorisable(error)})"
            notes += [] if note in notes else [note]
    return timed


def _stacks(trial: Trial, parts: Parts, most: int, microbatch: int | str | None, notes: list[str]) -> dict[int, float]:
    """Return seconds_in_stacks; nothing, with a note, where the network does not go that way."""
    try:
        return seconds_in_stacks(trial, parts, most, microbatch)
    except torch.OutOfMemoryError as error:
        note = f"members are trained one at a time: together they do not fit ({_line(error)})"
    except Exception as error:  # it works alone, so it is the vectorised way that code of the user's does not go
        note = "members are trained one at a time: torch.func cannot vectorise the model "
        note += f"({_unvectorisable(error)})"
    notes += [] if note in notes else [note]
    return {}


def _compiled_if_faster(
    trial: Trial,
    parts: Parts,
    members: int,
    microbatch: int | str | None,
    timed: dict[str, float],
    way: str,
    work_s: float,
    compilations: int,
    notes: list[str],
) -> str:
    """Return the fastest way with the compiled ones tried; add their times."""
    costs = {way: work_s}
    for eager in [name for name in timed if name != TOGETHER or members > 1]:
        compiled = f"compiled_{eager}"
        started = time.perf_counter()
        try:
            seconds = seconds_per_update(trial, parts, compiled, members, microbatch)
        except Exception as error:  # as above: of the compiled way
            notes.append(f"training is not compiled: {_line(error)}")
            continue
        compilation_s = time.perf_counter() - started
        timed[compiled] = seconds
        costs[compiled] = work_s * seconds / timed[way] + compilation_s * compilations
    return min(costs, key=lambda name: costs[name])


def _may_pay(work_s: float, compilations: int, device: torch.device) -> bool:
    """Say whether there is work enough to pay for compiled ways, where they are possible."""
    return work_s >= WORTH * COMPILATION_S * compilations and can_compile(device)


def can_compile(device: torch.device) -> bool:
    """Say whether torch.compile has what it needs: a C++ compiler, and Triton for a GPU."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    triton = device.type != "cuda" or importlib.util.find_spec("triton") is not None
    return shutil.which(compiler) is not None and triton


def _seconds(
    space: Space, trial: Trial, parts: Parts, way: str, members: int, like: float, of: Trial, *, stacked: bool
) -> float:
    """Return the time per update: timed, or where timing would compile or take long, what its gradients make likely."""
    if way.startswith("compiled") or (stacked and way == TOGETHER) or like * members > TIMED_S:
        return like * trial.evaluations_per_update / of.evaluations_per_update
    with _user_code(trial):
        return seconds_per_update(trial, parts, way, members, space.microbatch)


def _same_program(trial: Trial, of: Trial, way: str) -> bool:
    """Say whether an update of one is an update of the other but for numbers, so that it takes as long."""
    return not (trial.phases or of.phases) and program_key(trial, way) == program_key(of, way)


def _seconds_alone(trial: Trial, parts: Parts, members: int, microbatch: int | str | None) -> float:
    with _user_code(trial):
        return seconds_per_update(trial, parts, "alone", members, microbatch)


@contextlib.contextmanager
def _user_code(trial: Trial) -> Iterator[None]:
    """Say of an arm, in one line, what code of the user's raises in its steps; memory that does not suffice is no mistake of it."""
    try:
        with user_code(f"arm {trial.arm!r}, in its first updates", made_by=trial.model):
            yield
    except RequestError as error:
        if isinstance(error.__cause__, torch.OutOfMemoryError):
            raise error.__cause__ from None
        raise


def _num_programs(space: Space, design: ArmDesign) -> int:
    """Return how many compiled steps the configurations of an arm would need."""
    sampler = proposers(space, [design])[design.name]
    asked = range(design.num_samples if design.dimensions and not space.sampler.learns else 1)
    return len({program_key(design.template.resolved(sampler.propose(i, [])), "") for i in asked}) if asked else 1


def _unvectorisable(error: Exception) -> str:
    place = own_line(error)
    if ".item()" in str(error):
        return f"it reads the value of a tensor{f' at {place}' if place else ''}: by .item(), or an `if` on it"
    return f"{_line(error)}{f' at {place}' if place else ''}"


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

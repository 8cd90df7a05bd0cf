"""Execution: which way of training is the fastest for a search, decided once, before it starts, from steps timed here."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from tune_lb.data.device import Parts
from tune_lb.errors import RequestError, defined_at, one_line, own_line, user_code
from tune_lb.optimizers.building import NotSeparable
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.training.compiled_step import program_key
from tune_lb.training.network_check import Finding
from tune_lb.training.trial import Trial
from tune_lb.training.ways import AUTO
from tune_lb.tuning.compiling import compiled_if_faster, compiled_stack_timed, first_line, num_programs
from tune_lb.tuning.light_trials import light
from tune_lb.tuning.running_program import COMPILED_TOGETHER, TOGETHER
from tune_lb.tuning.timed_updates import TIMED_S, seconds_in_stacks, seconds_per_update
from tune_lb.tuning.timing_clock import TimingClock


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
    clock: TimingClock | None = None,
) -> Execution:
    """Return the fastest way of training for each arm, among those that work for it.

    trials: something to time, by arm. parts: the data of each arm. members: how many a stack holds where most
    of the time goes. updates: those of all the members of an arm together. processes: how many compile. findings: of the
    check of networks, by arm. known: the ways of a run that goes on. most: members of an arm that a job may hold.
    compiles: without it no compiled way is tried, which takes minutes for a large network; a note says so where it might pay.
    clock: when it has run out, nothing more is tried, and arms are taken to cost what their gradients make likely.
    Arms of one batch size share the decision, made on the first of them: results of different ways differ to rounding, and
    what is compared at equal batch should not. A way that fails (a model that torch.func cannot vectorise) is left out with
    a note. Raises RequestError where the one way that the space asks for fails.
    """
    found, clock = Execution(), clock or TimingClock()
    classes: dict[int, list[str]] = {}
    for arm, trial in trials.items():
        classes.setdefault(trial.batch_size, []).append(arm)
    for arms in classes.values():
        clock.say(f"timing updates of {trials[arms[0]].batch_size:,} examples ({', '.join(arms)})")
        meant, before = trials[arms[0]], known[arms[0]] if known and arms[0] in known else None
        first, times = light(meant, parts[arms[0]], space.microbatch)
        # where one update takes seconds nothing is gained by several members at once
        each = members if first is meant else 1
        plain = [reason for arm in arms for reason in findings[arm].reasons]
        if plain:
            before = _plainly(space, arms, plain[0], before)
        largest = max((most or {}).get(arm, 1) for arm in arms)
        asked = before or space.execution
        vectorises = first is meant and not plain and not findings[arms[0]].draws
        here = (first, parts[arms[0]])
        stacks: dict[int, float] = {}
        timed: dict[str, float] = {}
        if vectorises and asked in (AUTO, TOGETHER, COMPILED_TOGETHER):
            stacks = _stacks(*here, largest, space.microbatch, found.notes, clock)
        if stacks and asked == COMPILED_TOGETHER:
            timed = compiled_stack_timed(*here, stacks, space.microbatch)
            stacks = stacks if timed else {}
        timed = timed or _timed(space, *here, each, before, found.notes, clock, findings[arms[0]].draws)
        if stacks and asked != COMPILED_TOGETHER:
            timed[TOGETHER] = min(*stacks.values(), timed.get(TOGETHER, math.inf))
        way = min(timed, key=lambda name: timed[name])
        gradients = sum(updates[arm] * trials[arm].evaluations_per_update for arm in arms)
        work_s = gradients * (1.0 if first is meant else times / meant.evaluations_per_update) * timed[way]
        clock.work_s += work_s / max(1, processes)
        if known is None and space.execution == AUTO and not plain and not findings[arms[0]].draws:
            of_class = [design for design in designs if design.name in arms]
            compilations = {own: processes * number for own, number in num_programs(space, of_class, first).items()}
            way = compiled_if_faster(
                *(*here, each, space.microbatch, timed, stacks, way, work_s, compilations, found.notes),
                compiles=compiles,
                clock=clock,
            )
        for arm in arms:
            found.ways[arm] = way
            if stacks and way in (TOGETHER, COMPILED_TOGETHER):
                found.stacked[arm] = min(stacks, key=lambda size: stacks[size])
            if first is not meant:
                found.seconds[arm] = (
                    timed[way] * times * trials[arm].evaluations_per_update / meant.evaluations_per_update
                )
                continue
            found.seconds[arm] = (
                timed[way]
                if arm == arms[0] or (parts[arm] is parts[arms[0]] and _same_program(trials[arm], first, way))
                else _seconds(
                    space, trials[arm], parts[arm], way, members, timed[way], first, clock, stacked=bool(stacks)
                )
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
    clock: TimingClock,
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
    if members > 1 and not trial.budget.watches_loss and not draws and clock.allows():
        try:
            timed["together"] = seconds_per_update(trial, parts, "together", members, space.microbatch)
        except torch.OutOfMemoryError as error:
            notes.append(f"members are trained one at a time: together they do not fit ({first_line(error)})")
        except NotSeparable as error:
            notes += [] if (note := f"members are trained one at a time: {error}") in notes else [note]
        except Exception as error:  # it works alone, so it is the vectorised way that code of the user's does not go
            note = "members are trained one at a time: torch.func cannot vectorise the model "
            note += f"({_unvectorisable(error)})"
            notes += [] if note in notes else [note]
    return timed


def _stacks(
    trial: Trial, parts: Parts, most: int, microbatch: int | str | None, notes: list[str], clock: TimingClock
) -> dict[int, float]:
    """Return seconds_in_stacks; nothing, with a note, where the network does not go that way."""
    try:
        return seconds_in_stacks(trial, parts, most, microbatch, clock.allows)
    except torch.OutOfMemoryError as error:
        note = f"members are trained one at a time: together they do not fit ({first_line(error)})"
    except Exception as error:  # it works alone, so it is the vectorised way that code of the user's does not go
        note = "members are trained one at a time: torch.func cannot vectorise the model "
        note += f"({_unvectorisable(error)})"
    notes += [] if note in notes else [note]
    return {}


def _seconds(
    space: Space,
    trial: Trial,
    parts: Parts,
    way: str,
    members: int,
    like: float,
    of: Trial,
    clock: TimingClock,
    *,
    stacked: bool,
) -> float:
    """Return the time per update: timed, or where timing would compile or take long, what its gradients make likely."""
    likely = way.startswith("compiled") or (stacked and way == TOGETHER) or like * members > TIMED_S
    if likely or not clock.allows():
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


def _unvectorisable(error: Exception) -> str:
    place = own_line(error)
    if ".item()" in str(error):
        return f"it reads the value of a tensor{f' at {place}' if place else ''}: by .item(), or an `if` on it"
    return f"{first_line(error)}{f' at {place}' if place else ''}"

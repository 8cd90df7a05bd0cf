"""The estimate: what a search will cost, and which way of training is faster, from steps timed before it starts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_lb.data.device import Parts
from tune_lb.outcome import outcomes
from tune_lb.sampling import samplers
from tune_lb.search import MAX_RESCREENED
from tune_lb.space import ArmDesign, Space
from tune_lb.training import EXECUTIONS, Training
from tune_lb.trial import Trial

TIMED_UPDATES = 4


@dataclass(frozen=True)
class ArmEstimate:
    """What one arm will cost, over all splits and stages."""

    arm: str
    members: int
    updates_per_member: int
    seconds_per_update: float
    core_s: float


@dataclass(frozen=True)
class Estimate:
    """What a search will cost; times are those of this machine now, and of one worker where they say core."""

    arms: list[ArmEstimate]
    core_s: float
    wall_s: float
    concurrency: int
    disk_bytes: int
    already_done: int


def seconds_per_update(trial: Trial, parts: Parts, execution: str, members: int) -> float:
    """Return the median time of an update of one member, in seconds, after one that warms up."""
    training = Training(trial, range(members), parts, execution=execution)
    times = []
    for _ in range(TIMED_UPDATES):
        if training.done:
            break
        before, started = training.step, time.perf_counter()
        training.advance(1e-9)
        times.append((time.perf_counter() - started) / members / (training.step - before))
    return statistics.median(times[1:] or times)


def typical_trials(space: Space, designs: Sequence[ArmDesign]) -> dict[str, Trial]:
    """Return the first configuration of every arm, as something to time."""
    split_seed = space.split_seeds[0]
    proposers = samplers(space, designs, split_seed)
    found = {}
    for design in designs:
        index = len(design.combines) if design.dimensions and design.num_samples > len(design.combines) else 0
        values = proposers[design.name].propose(index, []) if design.dimensions else {}
        found[design.name] = design.template.resolved(values)
    return found


def choose_execution(
    trials: Mapping[str, Trial], parts: Parts, members: int
) -> tuple[dict[str, str], dict[str, float]]:
    """Return the faster way of training for each arm, and its time per update and member.

    members: how many a job of the search stage holds, where most of the time goes.
    Arms of one batch size share the decision, made on the first of them: results of different ways differ to rounding, and
    what is compared at equal batch should not.
    """
    ways: dict[int, str] = {}
    execution, seconds = {}, {}
    for arm, trial in trials.items():
        if trial.batch_size not in ways:
            timed = {way: seconds_per_update(trial, parts, way, members) for way in EXECUTIONS}
            way = ways[trial.batch_size] = min(timed, key=lambda way: timed[way])
            execution[arm], seconds[arm] = way, timed[way]
            continue
        execution[arm] = ways[trial.batch_size]
        seconds[arm] = seconds_per_update(trial, parts, execution[arm], members)
    return execution, seconds


def estimate(
    space: Space,
    designs: Sequence[ArmDesign],
    parts: Parts,
    seconds: Mapping[str, float],
    *,
    concurrency: int,
    start_s: float,
    already_done: int,
) -> Estimate:
    """Return the cost of a search from the times per update, plus evaluation and metrics timed on a short training."""
    trials = typical_trials(space, designs)
    reference = trials[space.reference or designs[0].name]
    short = Training(reference, [0], parts)
    short.advance(1e-9)
    started = time.perf_counter()
    outcomes(short, metrics=(), wall_s=0.0)
    evaluation_s = time.perf_counter() - started
    started = time.perf_counter()
    outcomes(short, metrics=space.metrics, wall_s=0.0)
    metrics_s = time.perf_counter() - started - evaluation_s
    rows = []
    splits = len(space.split_seeds)
    for design in designs:
        plan = trials[design.name].plan(len(parts.train.targets))
        searched = design.num_samples * space.seeds if design.dimensions and design.derived_from is None else 0
        rescreened = min(MAX_RESCREENED, 2) * space.rescreen_seeds if searched else 0
        members = splits * (searched + rescreened + space.confirm_seeds)
        measured = members if space.metrics_on == "all" else splits * space.confirm_seeds
        per_update = seconds[design.name]
        core_s = members * (plan.num_updates * per_update + evaluation_s) + measured * metrics_s
        rows.append(ArmEstimate(design.name, members, plan.num_updates, per_update, core_s))
    total = sum(row.core_s for row in rows)
    members = sum(row.members for row in rows)
    left = max(0.0, 1.0 - already_done / max(1, members))
    num_parameters = short.num_parameters
    confirmed = splits * space.confirm_seeds * len(designs)
    disk = confirmed * num_parameters * 4 + members * 20_000
    return Estimate(rows, total, start_s + left * total / concurrency, concurrency, disk, already_done)

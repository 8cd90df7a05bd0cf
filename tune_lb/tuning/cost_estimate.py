"""The estimate: what a search will cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from tune_lb.data.device import Parts
from tune_lb.observation.variance_profile import num_pieces_of
from tune_lb.samplers.distinct import completed
from tune_lb.search.expected import expected_members, expected_trainings
from tune_lb.search.proposers import proposers
from tune_lb.settings.active import cases
from tune_lb.settings.identity import describe
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.space.taking import lenders
from tune_lb.training.phased_training import begun
from tune_lb.training.plan import Plan
from tune_lb.training.remedy import overrides
from tune_lb.training.taking import variances_taken
from tune_lb.training.trial import Trial
from tune_lb.tuning.light_trials import light
from tune_lb.tuning.looking_costs import LookingCosts, looking_costs, step_costs, trained_a_little
from tune_lb.tuning.looks import looks_of

STATES_OF_CHECKPOINT = 3
"""How large a checkpoint is at most, in networks: weights and two moments of the optimiser."""


@dataclass(frozen=True)
class ArmEstimate:
    """What one arm will cost, over all stages.

    evaluation_s: losses and errors of one member at its end. looking_s: metrics, and what is observed of the members of the watched
    blocks while they train, of all members together: measuring_s for each that is measured, watching_s for each that is watched.
    num_examples: of the train, validation and test part. trainings: what the members amount to in whole trainings, where some are
    stopped early; 0: as many as they are.
    """

    arm: str
    members: int
    updates_per_member: int
    seconds_per_update: float
    core_s: float
    evaluation_s: float
    looking_s: float
    num_examples: tuple[int, int, int]
    measuring_s: float = 0.0
    watching_s: float = 0.0
    trainings: float = 0.0

    @property
    def member_s(self) -> float:
        """Return what a member takes that is not looked at, trained to its end."""
        return (self.core_s - self.looking_s) / (self.trainings or max(1, self.members))


@dataclass(frozen=True)
class Estimate:
    """What a search will cost; times are those of this machine now, and of one worker where they say core."""

    arms: list[ArmEstimate]
    core_s: float
    wall_s: float
    concurrency: int
    disk_bytes: int
    already_done: int
    notes: tuple[str, ...] = ()
    """What could not be used and why, a line each."""
    waiting_bytes: int = 0
    """About what the checkpoints take at most that wait for a look at an arm's search; part of disk_bytes."""


def typical_trials(space: Space, designs: Sequence[ArmDesign]) -> dict[str, Trial]:
    """Return the first configuration of every arm, to be timed; of lists of parts, what takes most gradients per update."""
    return dearest(trials_of_cases(space, designs))


def dearest(cases_of: Mapping[str, Sequence[Trial]]) -> dict[str, Trial]:
    """Return of every arm's cases the one that takes most gradients per update."""
    return {arm: max(trials, key=lambda trial: trial.evaluations_per_update) for arm, trials in cases_of.items()}


def trials_of_cases(space: Space, designs: Sequence[ArmDesign]) -> dict[str, list[Trial]]:
    """Return the first configuration of every arm, first, and the same with every other alternative of its lists of parts."""
    of_arms = proposers(space, designs)
    found = {}
    for design in designs:
        index = len(design.combines) if design.dimensions and design.num_samples > len(design.combines) else 0
        values = of_arms[design.name].propose(index, []) if design.dimensions else {}
        own = [values, *(values | chosen for chosen, _ in cases(design.dimensions) if chosen)]
        trials = [design.template.resolved(completed(design.dimensions, each, index)) for each in own]
        found[design.name] = list({trial.drawn: trial for trial in trials}.values())
    return found


def case_notes(cases_of: Mapping[str, Sequence[Trial]]) -> list[str]:
    """Say as what arms with lists of parts are timed, where that makes a difference. cases_of: see trials_of_cases."""
    found = []
    timed = dearest(cases_of)
    for arm, trials in cases_of.items():
        if len({trial.evaluations_per_update for trial in trials}) > 1:
            given = ", ".join(f"{name} = {label}" for name, label in timed[arm].drawn if isinstance(label, str))
            found.append(f"arm {arm!r}: its time is that with {given}, which takes the most gradients per update")
    return found


def num_members(space: Space, design: ArmDesign) -> int:
    """Return how many members an arm will have, over all stages."""
    return sum(expected_members(space, design).values())


def estimate(
    space: Space,
    designs: Sequence[ArmDesign],
    parts: Mapping[str, Parts],
    seconds: Mapping[str, float],
    *,
    concurrency: int,
    start_s: float,
    already_done: int,
    notes: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Estimate:
    """Return the cost of a search from the times per update, plus evaluation, metrics and looks timed on a short training.

    parts: the data of each arm; looks are timed once for each data set, network and loss.
    """
    trials = typical_trials(space, designs)
    timed: dict[Hashable, LookingCosts] = {}
    num_parameters = state_bytes = kept_files = 0
    for arm, trial in trials.items():
        kind = _kind(trial, parts[arm])
        if kind not in timed:
            say(f"timing evaluation and metrics of {arm}")
            last = light(trial.in_phases()[-1], parts[arm], space.microbatch).trial
            short = trained_a_little(last, parts[arm], space.microbatch)
            timed[kind] = looking_costs(space, short)
            own = sum(p.numel() for p in short.evaluation_module.parameters() if p.requires_grad)
            num_parameters = max(num_parameters, own)
            state_bytes = max(state_bytes, _state_bytes(short.evaluation_module))
    rows, lending = [], lenders(designs)
    for design in designs:
        trial, own_parts = trials[design.name], parts[design.name]
        looking = timed[_kind(trial, own_parts)]
        plan = trial.plan(len(own_parts.train))
        members = num_members(space, design)
        measured = members if space.metrics_on == "all" else min(space.most_blocks, space.measured_blocks)
        watched = min(space.most_blocks, space.watched_blocks) * space.block_seeds
        per_update = seconds[design.name]
        kept_files += _kept_files(space, design, plan, lending.get(design.name, ()))
        watching_s = looking.while_training_s(looks_of(space, trial, plan))
        if watched and (space.walk is not None or (space.watch is not None and space.watch.steps)):
            stand_in, times = light(trial, own_parts, space.microbatch)
            step = step_costs(space.walk, begun(stand_in, [0], own_parts, microbatch=space.microbatch))
            watching_s = looking.while_training_s(looks_of(space, trial, plan), step.walk_s * times)
            # they train by themselves, whatever way is fastest for the others
            watching_s += plan.num_updates * max(0.0, step.alone_s * times - per_update)
        looking_s = measured * looking.metrics_s + watched * watching_s
        taking_s = _taking_s(space, trial, trials, seconds, len(own_parts.train))
        trainings = expected_trainings(space, design)
        core_s = trainings * (plan.num_updates * per_update + looking.evaluation_s + taking_s) + looking_s
        sizes = (len(own_parts.train), len(own_parts.validation), len(own_parts.test))
        per_member = (looking.metrics_s, watching_s)
        costs = (per_update, core_s, looking.evaluation_s, looking_s)
        rows.append(ArmEstimate(design.name, members, plan.num_updates, *costs, sizes, *per_member, trainings))
    total = sum(row.core_s for row in rows)
    members = sum(row.members for row in rows)
    left = max(0.0, 1.0 - already_done / max(1, members))
    confirmed = space.most_blocks * space.block_seeds * len(designs)
    searched = max((expected_members(space, design)["search"] for design in designs), default=0)
    waiting = 0 if space.stopping is None else searched * STATES_OF_CHECKPOINT * state_bytes
    disk = confirmed * num_parameters * 4 + members * 20_000 + kept_files * state_bytes + waiting
    wall_s = start_s + left * total / concurrency
    return Estimate(rows, total, wall_s, concurrency, disk, already_done, tuple(notes), waiting)


def left_s(space: Space, row: ArmEstimate, left: float, confirmed: int) -> float:
    """Return what an arm has still to take: so many members, of which the first confirm blocks are looked at.

    left: members, part of a training as that part. confirmed: those that are confirmed, block after block.
    """
    blocks = confirmed / space.block_seeds
    measured = left if space.metrics_on == "all" else max(0.0, min(space.measured_blocks, space.most_blocks) - blocks)
    watched = max(0.0, min(space.watched_blocks, space.most_blocks) - blocks) * space.block_seeds
    looks_s = min(measured, left) * row.measuring_s + min(watched, left) * row.watching_s
    return left * row.member_s + looks_s


def _kind(trial: Trial, parts: Parts) -> Hashable:
    """Return what looks depend on: trials of one kind take the same time to look at."""
    changed = tuple(remedy.name for remedy in trial.active if overrides(remedy, "network"))
    return id(parts), describe(trial.model), describe(trial.loss), changed


def _kept_files(space: Space, design: ArmDesign, plan: Plan, lending: Collection[str]) -> int:
    """Return how many files of weights the members of an arm keep while they train. lending: stages that others take from."""
    watch = space.watch
    if watch is None or not watch.is_kept_of(design.name):
        return 0
    watched = min(space.most_blocks, space.watched_blocks) * space.block_seeds
    members = sum(n for stage, n in expected_members(space, design).items() if stage in lending) if lending else watched
    return members * len(watch.kept_epochs(plan.whole_epochs))


def _taking_s(
    space: Space, trial: Trial, trials: Mapping[str, Trial], seconds: Mapping[str, float], num_train: int
) -> float:
    """Return what a member measures of other arms before it trains: variances at every weights that are kept."""
    found = 0.0
    for taken in (remedy.takes() for remedy in variances_taken(trial)):
        if taken is not None and space.watch is not None:
            lender = trials[taken.arm]
            kept = space.watch.kept_epochs(lender.plan(num_train).whole_epochs)
            found += len(kept) * num_pieces_of(lender.batch_size, num_train) * seconds[taken.arm]
    return found


def _state_bytes(module: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in (*module.parameters(), *module.buffers()))

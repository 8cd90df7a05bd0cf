"""The estimate: what a search will cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tune_lb.data.device import Parts
from tune_lb.search.expected import expected_members
from tune_lb.search.proposers import proposers
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.training.phased_training import begun
from tune_lb.training.trial import Trial
from tune_lb.tuning.looking_costs import LookingCosts, looking_costs


@dataclass(frozen=True)
class ArmEstimate:
    """What one arm will cost, over all stages.

    evaluation_s: losses and errors of one member at its end. looking_s: metrics, and what is observed of the members of the watched
    blocks while they train, of all members together. num_examples: of the train, validation and test part.
    """

    arm: str
    members: int
    updates_per_member: int
    seconds_per_update: float
    core_s: float
    evaluation_s: float
    looking_s: float
    num_examples: tuple[int, int, int]


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


def typical_trials(space: Space, designs: Sequence[ArmDesign]) -> dict[str, Trial]:
    """Return the first configuration of every arm, as something to time."""
    of_arms = proposers(space, designs)
    found = {}
    for design in designs:
        index = len(design.combines) if design.dimensions and design.num_samples > len(design.combines) else 0
        values = of_arms[design.name].propose(index, []) if design.dimensions else {}
        found[design.name] = design.template.resolved(values)
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
) -> Estimate:
    """Return the cost of a search from the times per update, plus evaluation, metrics and looks timed on a short training.

    parts: the data of each arm; evaluation and metrics are timed once for each data set.
    """
    trials = typical_trials(space, designs)
    timed: dict[int, LookingCosts] = {}
    num_parameters = 0
    # the arm that evaluation is timed on stands first
    for arm in dict.fromkeys([space.reference or designs[0].name, *(design.name for design in designs)]):
        if id(parts[arm]) not in timed:
            short = begun(trials[arm].in_phases()[-1], [0], parts[arm], microbatch=space.microbatch)
            short.advance(1e-9)
            timed[id(parts[arm])] = looking_costs(space, short)
            own = sum(p.numel() for p in short.evaluation_module.parameters() if p.requires_grad)
            num_parameters = max(num_parameters, own)
    rows = []
    for design in designs:
        own_parts, looking = parts[design.name], timed[id(parts[design.name])]
        plan = trials[design.name].plan(len(own_parts.train))
        members = num_members(space, design)
        measured = members if space.metrics_on == "all" else min(space.most_blocks, space.measured_blocks)
        watched = min(space.most_blocks, space.watched_blocks) * space.block_seeds
        per_update = seconds[design.name]
        looking_s = measured * looking.metrics_s + watched * looking.while_training_s(space, plan)
        core_s = members * (plan.num_updates * per_update + looking.evaluation_s) + looking_s
        sizes = (len(own_parts.train), len(own_parts.validation), len(own_parts.test))
        rows.append(
            ArmEstimate(
                design.name, members, plan.num_updates, per_update, core_s, looking.evaluation_s, looking_s, sizes
            )
        )
    total = sum(row.core_s for row in rows)
    members = sum(row.members for row in rows)
    left = max(0.0, 1.0 - already_done / max(1, members))
    confirmed = space.most_blocks * space.block_seeds * len(designs)
    disk = confirmed * num_parameters * 4 + members * 20_000
    return Estimate(rows, total, start_s + left * total / concurrency, concurrency, disk, already_done, tuple(notes))

"""How many members a design has, and how much of them is trained."""

from __future__ import annotations

from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space


def expected_trainings(space: Space, design: ArmDesign) -> float:
    """Return what the members of an arm amount to in whole trainings: fewer than they are, where some are stopped early."""
    members = expected_members(space, design)
    searched = members["search"]
    spared = 0.0 if space.stopping is None else searched - space.stopping.trainings(searched, space.candidates)
    return sum(members.values()) - spared


def expected_members(
    space: Space, design: ArmDesign, num_samples: int | None = None, confirm_blocks: int | None = None
) -> dict[str, int]:
    """Return how many members an arm will have by stage: n + q r + S m, where nothing fails and no configuration comes twice.

    And those that it lends: its one configuration, in each block of others that its own search and decide stage are not in.

    confirm_blocks: S, where that is known; None: as many as there are at most.
    """
    samples = design.num_samples if num_samples is None else num_samples
    searched = samples if design.dimensions and design.derived_from is None and samples > 1 else 0
    kept = min(space.candidates, searched)
    decided = kept * space.decide_blocks if kept > 1 else 0
    own = {("search", False): searched, ("decide", False): decided}
    lent = [stage for stage, placebo in design.lent if not own.get((stage, placebo))]
    return {
        "search": searched,
        "decide": decided,
        "lent": sum({"search": 1, "decide": space.decide_blocks}[stage] for stage in lent),
        "confirm": (space.most_blocks if confirm_blocks is None else confirm_blocks) * space.block_seeds,
    }

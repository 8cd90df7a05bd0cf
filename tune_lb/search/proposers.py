"""Proposers: what proposes the configurations of every arm, as the space's sampler makes them."""

from __future__ import annotations

from collections.abc import Sequence

from tune_lb.samplers.distinct import ActiveAlone, Distinct, may_repeat
from tune_lb.samplers.given import GivenFirst
from tune_lb.samplers.sampler import Dimensions, Proposer
from tune_lb.settings.active import has_conditions
from tune_lb.space.designs import ArmDesign
from tune_lb.space.points import points_of_design
from tune_lb.space.space import Space


def proposers(space: Space, designs: Sequence[ArmDesign]) -> dict[str, Proposer]:
    """Return what proposes for every arm; where its combinations can be counted, none is proposed twice (see Distinct)."""
    # by name, so that arms listed in another order draw the same points
    columns = sorted({name for design in designs for name in design.dimensions})
    found: dict[str, Proposer] = {}
    for design in designs:
        dimensions = Dimensions(
            arm=design.name,
            domains=design.dimensions,
            columns=columns,
            seed=space.seed,
            shares_points=design.shares_points,
            first=len(design.combines),
            objectives=max(1, len(space.objectives)),
        )
        own = space.sampler.proposer(dimensions)
        given = points_of_design(space.points, design, space.reference)
        own = found[design.name] = GivenFirst(own, given, dimensions) if given else own
        # one that learns is held to it by the search, which knows what else is being tried
        if not (space.sampler.learns or space.sampler.enumerates) and may_repeat(design.dimensions):
            found[design.name] = Distinct(own, design.dimensions, dimensions.first)
        if has_conditions(design.dimensions):
            found[design.name] = ActiveAlone(found[design.name], design.dimensions)
    return found

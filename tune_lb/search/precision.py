"""What a search can be expected to tell before it begins: half-widths of its differences, and the blocks that an effect takes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from tune_lb.inference.looks import looks
from tune_lb.inference.precision import Spread, blocks_needed, expected_half_width, spread_of
from tune_lb.search.confirming import OUTSIDE, POINT, State, confirmings
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.space.until import Until

USUAL = Spread(between=0.0010, within=0.0034, selection=0.0006)
"""What arms of the handwritten digits scatter by (docs/inference.md): taken where nothing of the space is known. An error of other
data may scatter by several times that."""

EFFECT = 0.5
"""Points of test error: what the blocks are said for."""


@dataclass(frozen=True)
class Precision:
    """What is expected of an arm's difference. half_width, of_recipes: points, of the whole procedure and of these recipes.

    blocks: in which an arm is confirmed. blocks_for_effect: with which an effect of EFFECT points is claimed 4 times in 5; None:
    no number does it.
    """

    blocks: int
    half_width: float
    of_recipes: float
    blocks_for_effect: int | None


def expected_precision(space: Space, spread: Spread = USUAL) -> Precision | None:
    """Return what a search of the space is expected to tell of an arm; None where nothing is compared with a reference."""
    designs = checked_designs(space)
    if space.reference is None or space.most_blocks < 2:
        return None
    family = max(1, sum(design.role not in OUTSIDE for design in designs))
    seeds, until = space.block_seeds, space.confirm_blocks
    blocks = space.most_blocks
    if isinstance(until, Until):
        reached = (
            n for n in looks(blocks) if expected_half_width(spread, n, seeds, family) <= POINT * until.half_width
        )
        blocks = next(reached, blocks)
    recipes = Spread(spread.between, spread.within, 0.0)
    return Precision(
        blocks,
        expected_half_width(spread, blocks, seeds, family) / POINT,
        expected_half_width(recipes, blocks, seeds) / POINT,
        blocks_needed(spread, POINT * EFFECT, seeds, family),
    )


def spread_in(state: State) -> Spread | None:
    """Return what the differences of a search that was trained scatter by: the median of its arms; None where none is known."""
    found = confirmings(state, state.space.most_blocks)
    reference = found.get(str(state.space.reference))
    if reference is None:
        return None
    spreads = []
    for name, arm in found.items():
        if arm is None or state.arms[name].design.role in OUTSIDE:
            continue
        blocks = min(len(arm.errors), len(reference.errors))
        pairs = arm.errors[:blocks] - reference.errors[:blocks]
        whole = pairs[np.isfinite(pairs).all(axis=1)]
        if len(whole) > 1:
            spreads.append(spread_of(whole, (arm.selection + reference.selection) / 2))
    if not spreads:
        return None
    middle = (statistics.median(getattr(s, part) for s in spreads) for part in ("between", "within", "selection"))
    return Spread(*middle)

"""Runs drawn from a pool: what an arm's search and decision choose, and its members and those of placebos in confirm blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from power_designs import Array, Blocks, Chosen, Design, Pool, choose, draw_blocks, spread_points

REFERENCE, BASELINE = "large_batch", "small_batch"
NUM_PLACEBOS = 5


@dataclass
class Run:
    """What one drawn run holds."""

    chosen: dict[str, Chosen]
    confirmed: dict[str, Array]
    placebos: dict[str, list[Array]]
    """By kind, the confirm errors of placebos; the last one is the run's own, the floor of claims."""
    placebo_chosen: list[Chosen]


@dataclass
class Search:
    """What search and decide of one run chose, and of its placebos: the last one is the run's own, the floor of claims."""

    chosen: dict[str, Chosen]
    placebos: list[Chosen]


def draw_search(arms: dict[str, Pool], design: Design, rng: np.random.Generator) -> Search:
    """Return search and decide of a run, drawn from the pool: all arms try the same points in the same blocks."""
    reference = arms[REFERENCE]

    def searched() -> tuple[Array, Blocks, Blocks]:
        points = spread_points(reference.points[:, 0], design.num_samples, rng)
        return (
            points,
            draw_blocks(reference, 1, rng, reference.search_cuts),
            draw_blocks(reference, design.decide_blocks, rng),
        )

    points, search, decide = searched()
    chosen = {}
    for name, arm in arms.items():
        own = np.arange(len(arm.points))[: design.num_samples] if len(arm.points) < len(reference.points) else points
        chosen[name] = choose(arm, own, search, decide, design)
    return Search(chosen, [choose(reference, *searched(), design) for _ in range(NUM_PLACEBOS + 1)])


def draw_confirmed(arms: dict[str, Pool], search: Search, design: Design, rng: np.random.Generator) -> Run:
    """Return a run of which search and decide are known."""
    reference = arms[REFERENCE]
    confirm = draw_blocks(reference, design.confirm_blocks, rng, seeds=design.block_seeds)
    confirmed = {name: arms[name].of("test_error", found.point, confirm) for name, found in search.chosen.items()}
    drawn: dict[str, list[Array]] = {"paired": [], "other seeds": []}
    for placebo in search.placebos:
        drawn["paired"].append(reference.of("test_error", placebo.point, confirm))
        drawn["other seeds"].append(reference.of("test_error", placebo.point, others(reference, confirm, rng)))
    return Run(search.chosen, confirmed, drawn, search.placebos)


def others(pool: Pool, blocks: Blocks, rng: np.random.Generator) -> Blocks:
    """Return other seeds of the same cuts, as far as the pool has them."""
    num_seeds, (number, used) = pool.trained.shape[2], blocks.seeds.shape
    order = rng.random((number, num_seeds))
    np.put_along_axis(order, blocks.seeds, np.inf, axis=1)
    return Blocks(blocks.cuts, order.argsort(axis=1)[:, : min(used, num_seeds - used)])


class Runs:
    """Draws runs of a pool. Designs that search and decide alike have the same searches, each drawn once."""

    def __init__(self, arms: dict[str, Pool], repeats: int) -> None:
        self.arms, self.repeats = arms, repeats
        self._searches: dict[tuple[int, ...], list[Search]] = {}

    def of(self, design: Design) -> list[Run]:
        """Return the runs of a design."""
        key = (design.num_samples, design.candidates, design.decide_blocks)
        if key not in self._searches:
            rng = np.random.default_rng((0, *key))
            self._searches[key] = [draw_search(self.arms, design, rng) for _ in range(self.repeats)]
        rng = np.random.default_rng((1, design.confirm_blocks, design.block_seeds))
        return [draw_confirmed(self.arms, search, design, rng) for search in self._searches[key]]

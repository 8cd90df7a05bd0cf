"""Blocks: a split and its seeds, the same for all arms, so that what differs between arms is paired by both."""

from __future__ import annotations

import functools
from typing import NamedTuple

FIRST = {"search": 0, "decide": 1000, "confirm": 2000}
"""Split seed and seed of a stage's first block: they never meet, so what chose a configuration does not measure it."""

PLACEBO = 500
"""What the placebo's search and decide blocks are numbered from: it searches on draws of its own."""

NEXT_SEED = 100_000
"""Distance of the seeds of one block."""

MOST = {"decide": PLACEBO, "confirm": NEXT_SEED - FIRST["confirm"]}
"""Blocks of a stage beyond which seeds would meet."""


class Block(NamedTuple):
    """A split and the seeds of its members. number: within the stage, column `block`."""

    number: int
    split_seed: int
    seeds: tuple[int, ...]


def is_first(seed: int) -> bool:
    """Say whether a seed is the first of its block."""
    return seed < NEXT_SEED


def blocks(stage: str, count: int, *, seeds: int = 1, fresh_splits: bool = True, placebo: bool = False) -> list[Block]:
    """Return the first blocks of a stage.

    Block b has split seed f + b and seeds f + b + 100,000 j, f as FIRST has it; without fresh splits all have split seed 0. The
    placebo's are numbered from 500 in search and decide, and are those of all arms in confirm.
    """
    return list(_blocks(stage, count, seeds, fresh_splits, placebo))


@functools.lru_cache(maxsize=64)
def _blocks(stage: str, count: int, seeds: int, fresh_splits: bool, placebo: bool) -> tuple[Block, ...]:
    # a search asks for the same ones again and again, for each configuration
    start = PLACEBO if placebo and stage != "confirm" else 0
    found = []
    for number in range(start, start + count):
        first = FIRST[stage] + number
        own = tuple(first + NEXT_SEED * j for j in range(seeds))
        found.append(Block(number, first if fresh_splits else 0, own))
    return tuple(found)

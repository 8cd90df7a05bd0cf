"""Runs drawn from a pool of real members (benchmarks/power_pools.py): search, decide, confirm, as a run does them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tune_lb.inference.decision import Standing, log_loss, standing
from tune_lb.inference.selection_variance import Searched, selection_variance

Array = NDArray[np.float64]
NUMBERS = ("validation_loss", "validation_error", "validation_soft_error", "test_error")
CLASSES = 10


@dataclass(frozen=True)
class Design:
    """What an arm is given: search, decide and confirm."""

    num_samples: int = 24
    candidates: int = 5
    decide_blocks: int = 6
    confirm_blocks: int = 12
    block_seeds: int = 2
    soft: bool = True
    """Decide by loss and soft error; else by loss alone."""

    @property
    def members(self) -> int:
        """Return the members of an arm."""
        decide = self.candidates * self.decide_blocks if self.candidates > 1 else 0
        return self.num_samples + decide + self.confirm_blocks * self.block_seeds


class Blocks(NamedTuple):
    """Which members of the pool a stage takes: (R,) cuts and (R,) or (R, m) seeds."""

    cuts: NDArray[np.int64]
    seeds: NDArray[np.int64]


class Pool:
    """The members of one arm: tables (points, cuts, seeds), nan where a point was not trained."""

    def __init__(self, rows: pd.DataFrame) -> None:
        rows = rows.sort_values(["point", "cut", "seed"])
        self.size = tuple(int(rows[name].max()) + 1 for name in ("point", "cut"))
        num_seeds = int(rows.groupby(["point", "cut"]).size().max())
        self.table: dict[str, Array] = {}
        place = (rows["point"], rows["cut"], rows["seed"] - num_seeds * rows["cut"])
        for name in NUMBERS:
            self.table[name] = np.full((*self.size, num_seeds), np.nan)
            self.table[name][place] = rows[name].astype(float)
        columns = sorted(name for name in rows if name.startswith("u") and rows[name].notna().any())
        self.points = rows.groupby("point")[columns].first().to_numpy(float)
        self.trained = np.zeros((*self.size, num_seeds), dtype=bool)
        self.trained[place] = True
        self.likely = self.trained.all(axis=(1, 2))
        self.search_cuts = int(self.trained[~self.likely].any(axis=(0, 2)).sum()) or self.size[1]
        self.mean = np.where(self.likely, self.table["test_error"].mean(axis=(1, 2)), np.nan)

    def of(self, name: str, point: int, blocks: Blocks) -> Array:
        """Return a number of a point in blocks."""
        cuts = blocks.cuts if blocks.seeds.ndim == 1 else blocks.cuts[:, None]
        return self.table[name][point, cuts, blocks.seeds]


def pools(path: Path) -> dict[str, Pool]:
    """Return the arms of a stored pool."""
    frame = pd.read_parquet(path)
    return {str(arm): Pool(rows) for arm, rows in frame.groupby("arm", sort=False)}


class Chosen(NamedTuple):
    """What search and decide found of one arm."""

    point: int
    variance: float
    passed_over: int
    """Better ones by the search's loss of which the pool holds too little."""


def spread_points(coordinate: Array, number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return so many points, one at random of each of as many strata of the coordinate: as even as Sobol points are in it."""
    order = np.argsort(coordinate, kind="stable")
    edges = np.linspace(0, len(order), number + 1)
    taken = np.floor(edges[:-1] + rng.random(number) * np.diff(edges)).astype(int)
    # strata share the element on their edge
    for i in range(1, number):
        taken[i] = max(taken[i], taken[i - 1] + 1)
    return order[np.minimum(taken, np.arange(len(order) - number, len(order)))]


def draw_blocks(pool: Pool, number: int, rng: np.random.Generator, cuts: int | None = None, seeds: int = 0) -> Blocks:
    """Return blocks drawn with replacement: cuts, and a seed of each, or so many different seeds of each."""
    num_seeds = pool.trained.shape[2]
    drawn = rng.integers(cuts or pool.size[1], size=number)
    if not seeds:
        return Blocks(drawn, rng.integers(num_seeds, size=number))
    return Blocks(drawn, rng.permuted(np.tile(np.arange(num_seeds), (number, 1)), axis=1)[:, :seeds])


def choose(pool: Pool, points: NDArray[np.int64], search: Blocks, decide: Blocks, design: Design) -> Chosen:
    """Return what an arm's search and decision choose among the points, and the variance of that choice."""
    losses = {p: float(pool.of("validation_loss", p, search)[0]) for p in points}
    order = sorted(points, key=lambda p: losses[p] if np.isfinite(losses[p]) else np.inf)
    candidates = [p for p in order if pool.likely[p]][: design.candidates]
    # few points may hold none of which the pool has enough: then the best of those it has
    candidates = candidates or [
        min(np.flatnonzero(pool.likely), key=lambda p: pool.of("validation_loss", p, search)[0])
    ]
    passed_over = int(sum(not pool.likely[p] for p in order[: design.candidates]))
    if len(candidates) == 1:
        return Chosen(candidates[0], float("nan"), passed_over)
    loss = np.stack([pool.of("validation_loss", p, decide) for p in candidates])
    soft = np.stack([pool.of("validation_soft_error", p, decide) for p in candidates]) if design.soft else None
    standings = standing(loss, soft, np.log(CLASSES))
    chosen = candidates[standings.choice]
    return Chosen(chosen, variance(pool, points, candidates, search, decide, standings), passed_over)


def variance(
    pool: Pool, points: Sequence[int], candidates: Sequence[int], search: Blocks, decide: Blocks, decided: Standing
) -> float:
    """Return V of an arm, from the members of its search and decide stages."""
    tried, blocks = len(points), len(decide.cuts)
    members = np.concatenate([points, np.repeat(candidates, blocks)]).astype(int)
    cuts = np.concatenate([np.repeat(search.cuts, tried), np.tile(decide.cuts, len(candidates))])
    seeds = np.concatenate([np.repeat(search.seeds, tried), np.tile(decide.seeds, len(candidates))])
    numbers = {name: table[members, cuts, seeds] for name, table in pool.table.items()}
    searched = Searched(
        points=pool.points[members],
        block=np.concatenate([np.zeros(tried, dtype=int), np.tile(1 + np.arange(blocks), len(candidates))]),
        candidate=np.concatenate([np.full(tried, -1), np.repeat(np.arange(len(candidates)), blocks)]),
        log_loss=log_loss(numbers["validation_loss"], np.log(CLASSES)),
        soft_error=numbers["validation_soft_error"],
        test_error=numbers["test_error"],
    )
    there = np.isfinite(numbers["test_error"])
    return selection_variance(Searched(*(getattr(searched, name)[there] for name in vars(searched))), decided)

"""What early stopping inside an arm would gain: the regret of the selected configuration at equal gradient evaluations.

    python benchmarks/early_stopping.py --train digits    # learning curves of the pool's points, power/digits_curves.parquet
    python benchmarks/early_stopping.py digits mnist      # the table, from the stored curves

The points are those of the pools of power.py (scrambled Sobol, the same for all arms), so what each is worth is known: its mean
test error there. Successive halving is played on their validation losses at the ends of epochs, with batch norm recalibrated as at
the end of a training: of N points the best 1 / f are kept at each look. N is as large as the gradient evaluations of n whole
trainings allow. Then both go on alike: the five lowest losses are decided between by the members of another cut
(tune_lb.inference.decision).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

FOLDER = Path(__file__).parent / "power"
EPOCHS = 20
LOOKS = (2, 4, 5, 7, 8, 10, 14, 20)
ARMS = {
    "digits": ("large_batch", "ghost_norm", "warmup", "noise", "sam"),
    "mnist": ("large_batch", "ghost_norm", "sam"),
}
WHOLE = (8, 12, 24)
"""Whole trainings whose gradient evaluations there are."""

DRAWS = 2_000
CANDIDATES = 5


class Halving(NamedTuple):
    """At the end of each of these epochs the best 1 / factor go on."""

    factor: int
    looks: tuple[int, ...]

    def points(self, whole: int) -> int:
        """Return how many points can begin where so many could be trained whole."""
        number = whole
        while self.cost(number + 1) <= whole * EPOCHS:
            number += 1
        return number

    def cost(self, number: int) -> int:
        """Return the epochs that it trains in all, of so many points."""
        epochs, before, left = 0, 0, number
        for look in (*self.looks, EPOCHS):
            epochs, before = epochs + left * (look - before), look
            left = max(1, left // self.factor)
        return epochs

    def survivors(self, curves: np.ndarray) -> np.ndarray:
        """Return the rows of (N, looks) losses that are trained to the end, lowest last loss first."""
        left = np.arange(len(curves))
        for look in self.looks:
            order = np.argsort(curves[left, LOOKS.index(look)], kind="stable")
            left = left[order[: max(1, len(left) // self.factor)]]
        return left[np.argsort(curves[left, -1], kind="stable")]


DESIGNS = {
    "all whole": Halving(1, ()),
    "1/2 at 10": Halving(2, (10,)),
    "1/4 at 10": Halving(4, (10,)),
    "1/2 at 5, 10": Halving(2, (5, 10)),
    "1/3 at 2, 7": Halving(3, (2, 7)),
    "1/4 at 5": Halving(4, (5,)),
}
"""A grace beyond the longest warmup of these spaces (8 epochs) leaves the looks at 10."""


def train(pool: str) -> None:
    """Train the pool's points in its first cut, and write their validation losses at the looks."""
    from power_pools import SIZES, space_of

    from tune_lb.data.device import on_device
    from tune_lb.samplers import Sobol
    from tune_lb.space.checks import checked_designs
    from tune_lb.streams import seed_of
    from tune_lb.training.evaluation import quality, recalibrated
    from tune_lb.training.training import Training

    torch.set_num_threads(1)
    started = time.perf_counter()
    size, space = SIZES[pool], space_of(pool)
    designs = checked_designs(space)
    columns = sorted({name for design in designs for name in design.dimensions})
    points = Sobol().points(6, len(columns), seed_of("power", 0) % 2**32)
    parts = on_device(space.data.load(0), "cpu")
    rows = []
    for design in designs:
        if design.name not in ARMS[pool]:
            continue
        own = [columns.index(name) for name in design.dimensions]
        for point in range(size.points):
            cube = points[point, own]
            values = {n: d.at(float(u)) for (n, d), u in zip(design.dimensions.items(), cube, strict=True)}
            trial = dataclasses.replace(design.template.resolved(values), split_seed=0)
            training = Training(trial, range(size.seeds), parts, execution="together")
            while not training.done:
                training.advance()
                epoch = round(training.epoch)
                if epoch not in LOOKS:
                    continue
                for member in training.trained():
                    loss = math.inf
                    if member.diverged_at_step is None:
                        module = training.evaluation_module
                        buffers = recalibrated(module, member.params, member.buffers, parts.train)
                        loss = quality(module, member.params, buffers, trial.example_loss, parts.validation, None).loss
                    rows.append((design.name, point, member.seed, epoch, loss))
        print(f"{pool} {design.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows, columns=["arm", "point", "seed", "epoch", "validation_loss"])
    kinds = {"point": np.int16, "seed": np.int16, "epoch": np.int16, "validation_loss": np.float32}
    frame.astype(kinds).to_parquet(FOLDER / f"{pool}_curves.parquet", compression="zstd", index=False)


def table(pool: str) -> pd.DataFrame:
    """Return regrets in points of test error, by arm, whole trainings and design; print how looks order the last losses."""
    from tune_lb.inference.decision import standing

    members = pd.read_parquet(FOLDER / f"{pool}.parquet")
    curves = pd.read_parquet(FOLDER / f"{pool}_curves.parquet")
    rows = []
    for arm in ARMS[pool]:
        own = members[members["arm"] == arm]
        losses = curves[curves["arm"] == arm].pivot(index=["seed", "point"], columns="epoch", values="validation_loss")
        seeds = sorted(set(losses.index.get_level_values("seed")))
        # a diverged member stands as the worst
        by_seed = [losses.loc[seed].reindex(columns=LOOKS).fillna(np.inf).to_numpy(np.float64) for seed in seeds]
        # cuts that every point was trained in: a mean over other cuts is another thing
        whole_cuts = [cut for cut, rows in own.groupby("cut") if rows["point"].nunique() == own["point"].nunique()]
        of_all = own[own["cut"].isin(whole_cuts)]
        worth = 100 * of_all.groupby("point")["test_error"].mean().reindex(losses.loc[seeds[0]].index)
        decided_in = own[own["cut"] == own["cut"].unique()[1]] if own["cut"].nunique() > 1 else own
        deciding = [
            decided_in.pivot(index="point", columns="seed", values=name).reindex(worth.index).to_numpy(np.float64)
            for name in ("validation_loss", "validation_soft_error")
        ]
        tried = [np.isfinite(curve).all(axis=1) for curve in by_seed]
        ordered = {
            look: np.mean([rank_correlation(c[ok, i], c[ok, -1]) for c, ok in zip(by_seed, tried, strict=True)])
            for i, look in enumerate(LOOKS[:-1])
        }
        for whole in WHOLE:
            for name, design in DESIGNS.items():
                number = design.points(whole)
                if number > len(worth):
                    continue
                rng = np.random.default_rng(whole)
                found = np.empty((DRAWS, 2))
                for draw in range(DRAWS):
                    drawn = rng.permutation(len(worth))[:number]
                    curve = by_seed[rng.integers(len(seeds))][drawn]
                    kept = drawn[design.survivors(curve)][:CANDIDATES]
                    known = [values[kept] for values in deciding]
                    whole_rows = np.isfinite(known[0]).all(axis=1)
                    chosen = kept[0]
                    if len(kept) > 1 and whole_rows.sum() > 1:
                        chosen = kept[whole_rows][standing(known[0][whole_rows], known[1][whole_rows], None).choice]
                    found[draw] = worth.iloc[kept[0]], worth.iloc[chosen]
                regret = found - worth.min()
                rows.append(
                    (arm, whole, name, number, *regret.mean(axis=0), regret[:, 1].std(ddof=1) / math.sqrt(DRAWS))
                )
        print(f"{pool} {arm}: rank correlation of the loss at a look with the last one: " + said(ordered))
    return pd.DataFrame(rows, columns=["arm", "whole", "design", "points", "by loss", "decided", "se"])


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rho."""
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def said(ordered: dict[int, float]) -> str:
    return ", ".join(f"epoch {look} {value:.2f}" for look, value in ordered.items())


def main() -> None:
    """Train or print."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("pools", nargs="*", metavar="digits|mnist")
    given.add_argument("--train", choices=list(ARMS))
    options = given.parse_args()
    if options.train:
        train(options.train)
    for pool in options.pools:
        found = table(pool)
        print(
            f"\n{pool}: regret of what is decided for, points of test error (of the lowest loss alone); n whole trainings\n"
        )
        print("| arm | n | " + " | ".join(DESIGNS) + " |\n|---|---|" + "---|" * len(DESIGNS))
        for (arm, whole), own in [*found.groupby(["arm", "whole"], sort=False), *means(found)]:
            cells = own.set_index("design")
            texts = [
                f"{cells.loc[d, 'decided']:.2f} ({cells.loc[d, 'by loss']:.2f})" if d in cells.index else "-"
                for d in DESIGNS
            ]
            print(f"| {arm} | {whole} | " + " | ".join(texts) + " |")


def means(found: pd.DataFrame) -> list[tuple[tuple[str, int], pd.DataFrame]]:
    """Return the mean over arms, by whole trainings."""
    table = found.groupby(["whole", "design"], sort=False)[["by loss", "decided"]].mean().reset_index()
    return [(("mean", int(whole)), own) for whole, own in table.groupby("whole", sort=False)]


if __name__ == "__main__":
    main()

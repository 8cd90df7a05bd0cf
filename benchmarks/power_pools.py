"""Pools of real members for benchmarks/power.py: trained once, kept as Parquet, drawn from as often as one likes.

A pool holds so many configurations of every arm (scrambled Sobol points, the same for all arms), in blocks of cuts x seeds that
all arms share. Every point is trained on the first cuts; the points that searches choose there (`likely`) on all cuts. A design
is simulated by drawing points and blocks from it, so the pool is the population and its means are the truth.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from tune_lb import Arm, Epochs, Space
from tune_lb.data.dataset import DataSource
from tune_lb.data.device import on_device
from tune_lb.observation.outcome import outcomes
from tune_lb.samplers import Sobol
from tune_lb.space.checks import checked_designs
from tune_lb.streams import seed_of
from tune_lb.training.training import Training

FOLDER = Path(__file__).parent / "power"


class Size(NamedTuple):
    """How much a pool holds."""

    points: int
    likely: int
    search_cuts: int
    cuts: int
    seeds: int


SIZES = {"digits": Size(64, 16, 2, 12, 4), "mnist": Size(32, 8, 1, 7, 3), "cifar": Size(40, 12, 2, 9, 3)}
FEWER = {"small_batch": (24, 6)}
"""Points, and likely points, of an arm that costs far more than the others and is only the measure of the drop."""

LEFT_OUT = {"digits": (), "mnist": ("small_batch", "warmup", "noise"), "cifar": ("small_batch", "warmup", "noise")}
KEPT = ("train_loss", "validation_loss", "validation_error", "validation_soft_error", "test_error")


def space_of(pool: str) -> Space:
    """Return the question whose arms a pool holds; the arm twice_as_long is the reference at twice the epochs."""
    from search_spaces import quickstart, quickstart_mnist

    module = quickstart_mnist if pool == "mnist" else quickstart
    given = module.SPACE
    arms = (
        Arm("small_batch", batch_size=32 if pool == "mnist" else 20),
        Arm("large_batch"),
        Arm("twice_as_long", budget=Epochs(40)),
        Arm("ghost_norm", module.GHOST),
        Arm("warmup", module.WARMUP),
        Arm("noise", module.NOISE),
        Arm("sam", module.SHARPNESS_AWARE),
    )
    if pool == "cifar":
        given = dataclasses.replace(given, data=small_cifar())
    arms = tuple(arm for arm in arms if arm.name not in LEFT_OUT[pool])
    return dataclasses.replace(
        given, baseline=None, arms=arms, metrics=(), derived=False, compute_matched=False, placebo=False
    )


def small_cifar() -> DataSource:
    """Return 5,000 images of CIFAR-10's train part as means over 4 x 4 pixels: 192 numbers an image, cut anew in every block."""
    from tune_lb.data import CIFAR10, Arrays

    train = CIFAR10(num_train=5_000, num_validation=100).load(0).train
    pixels = torch.as_tensor(train.inputs).float().reshape(-1, 3, 32, 32)
    inputs = torch.nn.functional.avg_pool2d(pixels, 4).reshape(len(pixels), -1).numpy()
    path = Path(tempfile.mkdtemp()) / "small_cifar.npz"
    np.savez(path, features=inputs, labels=np.asarray(train.targets))
    return Arrays(str(path), num_train=1_000, num_validation=1_000)


def train(pool: str) -> None:
    """Train a pool and write it to power/POOL.parquet."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    size = SIZES[pool]
    space = space_of(pool)
    designs = checked_designs(space)
    columns = sorted({name for design in designs for name in design.dimensions})
    points = Sobol().points(6, len(columns), seed_of("power", 0) % 2**32)
    cuts = [on_device(space.data.load(cut), "cpu") for cut in range(size.cuts)]
    rows: list[dict[str, Any]] = []
    for design in designs:
        own = [columns.index(name) for name in design.dimensions]

        def members(point: int, cut: int, design: Any = design, own: list[int] = own) -> Iterator[dict[str, Any]]:
            cube = points[point, own]
            values = {n: d.at(float(u)) for (n, d), u in zip(design.dimensions.items(), cube, strict=True)}
            trial = dataclasses.replace(design.template.resolved(values), split_seed=cut)
            training = Training(trial, range(size.seeds * cut, size.seeds * (cut + 1)), cuts[cut], execution="together")
            while not training.done:
                training.advance(100.0)
            soft = soft_errors(training)
            where = {"arm": design.name, "point": point, "cut": cut}
            coordinates = {f"u{i}": float(u) for i, u in enumerate(cube)}
            for outcome in outcomes(training, metrics=(), wall_s=0.0):
                found = outcome.row | {"validation_soft_error": soft[outcome.row["seed"]]}
                yield where | {"seed": found["seed"]} | coordinates | {name: found.get(name) for name in KEPT}

        num_points, num_likely = FEWER.get(design.name, (size.points, size.likely))
        for cut in range(size.search_cuts):
            for point in range(num_points):
                rows += members(point, cut)
        chosen = likely(pd.DataFrame([row for row in rows if row["arm"] == design.name]), num_likely)
        for cut in range(size.search_cuts, size.cuts):
            for point in chosen:
                rows += members(point, cut)
        print(f"{pool} {design.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    frame = pd.DataFrame(rows)
    numbers = [name for name in frame.columns if name not in ("arm", "point", "cut", "seed")]
    frame = frame.astype(dict.fromkeys(numbers, np.float32) | dict.fromkeys(("point", "cut", "seed"), np.int16))
    FOLDER.mkdir(exist_ok=True)
    frame.to_parquet(FOLDER / f"{pool}.parquet", compression="zstd", index=False)


def soft_errors(training: Training) -> dict[int, float]:
    """Return by seed the mean of 1 - p(class) over the validation part; chance for diverged members."""
    part, found = training.parts.validation, {}
    train_part = training.parts.train
    from tune_lb.training.evaluation import recalibrated

    for member in training.trained():
        if member.diverged_at_step is not None:
            found[member.seed] = 1.0 - 1.0 / training.parts.num_classes
            continue
        module = training.evaluation_module
        buffers = recalibrated(module, member.params, member.buffers, train_part)
        with torch.no_grad():
            inputs = part.standardized(slice(0, len(part.targets)))
            outputs = torch.func.functional_call(module, (member.params, buffers), (inputs,))
            right = outputs.softmax(-1).gather(1, part.targets.long()[:, None])
        found[member.seed] = float(1.0 - right.mean())
    return found


def likely(rows: pd.DataFrame, number: int) -> list[int]:
    """Return the points that are most often among the five best of 24 by validation loss on one block, over 2,000 draws."""
    loss = rows.pivot(index="point", columns=["cut", "seed"], values="validation_loss").astype(float).fillna(np.inf)
    table, rng = loss.to_numpy(), np.random.default_rng(0)
    times = np.zeros(len(table))
    for _ in range(2_000):
        drawn = rng.choice(len(table), min(24, len(table)), replace=False)
        times[drawn[np.argsort(table[drawn, rng.integers(table.shape[1])], kind="stable")[:5]]] += 1
    left_out = times[np.argsort(-times)[number:]].sum() / times.sum()
    print(f"points that are seldom chosen are left out: {left_out:.1%} of choices", file=sys.stderr)
    return sorted(int(loss.index[i]) for i in np.argsort(-times)[:number])

"""Runs with known effects, made without training: the layout of the contract, the procedure of the planner.

The error of a trial is a parabola in the unit coordinate of eta_over_b plus noise of the configuration and of the seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import Frames
from tests.rows import trial_stem
from tune_lb.results.columns import Column, members_schema, roles_of
from tune_lb.results.member_rows import write_trial
from tune_lb.results.merger import HISTORY_SCHEMA
from tune_lb.results.run_files import merge, write_space, write_targets
from tune_lb.results.storage import Store
from tune_lb.results.tables import encode_predictions, to_table

BOUNDS = {"low": 1e-4, "high": 1e-1, "log": True, "integer": False}
COLUMNS = [
    Column("sam.rho", "float", "radius of the ascent step", role="setting"),
    Column("lambda_max", "float", "largest eigenvalue of the Hessian", role="metric"),
    Column("lambda_max.residual", "float", "relative residual of the eigenpair", role="protocol"),
    Column("lambda_max.batch_norm", "str", "mode of batch norm", role="protocol"),
    Column("keskar.full_1e-3", "float", "Metric 2.1, full space, eps 1e-3", role="metric"),
]


@dataclass(frozen=True)
class Arm:
    """error: at the best rate. best: unit coordinate of that rate. train_error, train_loss, lambda_max: levels."""

    error: float
    role: str = "arm"
    batch_size: int = 400
    best: float = 0.5
    train_error: float = 0.001
    train_loss: float = 1e-3
    lambda_max: float = 1.0
    remedies: tuple[str, ...] = ()
    dimensions: Mapping[str, Any] = field(default_factory=dict)
    like: str | None = None
    cost: float = 1.0
    matched_by: str | None = None


ARMS = {
    "small_batch": Arm(0.03, "baseline", 20, train_loss=4e-4, lambda_max=0.1),
    "large_batch": Arm(0.05, "reference"),
    "large_batch_copied": Arm(0.065, "copied"),
    "placebo": Arm(0.05, "placebo"),
    "sam": Arm(0.035, remedies=("sam",), dimensions={"sam.rho": {"low": 0.05, "high": 0.5, "log": True}}, cost=2.0),
    "null": Arm(0.05, remedies=("null",), like="large_batch"),
}


@dataclass(frozen=True)
class Procedure:
    """Sizes and noises of a fabricated run; standard deviations in fractions."""

    num_trials: int = 12
    seeds: int = 3
    rescreen_seeds: int = 3
    confirm_seeds: int = 8
    split_seeds: tuple[int, ...] = (0,)
    curvature: float = 0.08
    trial_std: float = 0.002
    seed_std: float = 0.003
    split_std: float = 0.0
    seed_correlation: float = 0.3
    sampler: str = "sobol"
    scheduler: str | None = None
    num_test: int = 997


def fabricate(arms: Mapping[str, Arm] = ARMS, procedure: Procedure = Procedure(), seed: int = 0) -> Frames:
    """Search, rescreen and confirm every arm in every split; arms share points and seeds except the placebo."""
    rows: list[dict[str, Any]] = []
    shared = np.random.default_rng((seed, 0)).random(procedure.num_trials)
    for split in procedure.split_seeds:
        chosen = 0.5
        for number, (name, arm) in enumerate(arms.items()):
            stream = list(arms).index(arm.like) if arm.like else number
            generator = np.random.default_rng((seed, 1, split, stream))
            own = np.random.default_rng((seed, 2, stream)).random(procedure.num_trials)
            points = own if arm.role == "placebo" else shared
            if arm.role in ("copied", "scaled"):
                points = np.array([chosen])
            common = np.random.default_rng((seed, 3, split, number if arm.role == "placebo" else 97))
            found, best = _searched(name, arm, split, points, generator, common, procedure)
            rows += found
            chosen = best if arm.role == "baseline" else chosen
    members = pd.DataFrame(rows)
    history = HISTORY_SCHEMA.empty_table().to_pandas()
    descriptions = {column.name: column.description for column in COLUMNS}
    return Frames(space(arms, procedure), members, history, descriptions, roles_of(members_schema(COLUMNS)))


def _searched(
    name: str,
    arm: Arm,
    split: int,
    points: np.ndarray,
    generator: np.random.Generator,
    common: np.random.Generator,
    p: Procedure,
) -> tuple[list[dict[str, Any]], float]:
    """The rows of one arm in one split, and the unit coordinate of the selected trial."""
    total = p.seeds + p.rescreen_seeds + p.confirm_seeds
    level = arm.error + p.split_std * generator.standard_normal()
    true = level + p.curvature * (points - arm.best) ** 2
    of_seed = math.sqrt(p.seed_correlation) * common.standard_normal(total)
    of_member = math.sqrt(1 - p.seed_correlation) * generator.standard_normal((len(points), total))
    member = true[:, None] + p.seed_std * (of_seed + of_member)
    noise = generator.standard_normal((2, len(points), 1))
    validation, test = member + p.trial_std * noise[0], member + p.trial_std * noise[1]
    row = _row(name, arm, split, p, generator)
    if len(points) == 1:
        confirm = range(p.seeds + p.rescreen_seeds, total)
        return [row(0, points[0], "confirm", j, validation[0, j], test[0, j]) for j in confirm], float(points[0])
    search = validation[:, : p.seeds].mean(axis=1)
    best = int(search.argmin())
    spread = validation[best, : p.seeds].std(ddof=1) / p.seeds**0.5 if p.seeds > 1 else 0.0
    close = [i for i in np.argsort(search, kind="stable") if search[i] <= search[best] + spread][:3]
    rows = [
        row(i, points[i], "search", j, validation[i, j], test[i, j]) for i in range(len(points)) for j in range(p.seeds)
    ]
    if len(close) > 1:
        again = range(p.seeds, p.seeds + p.rescreen_seeds)
        rows += [row(i, points[i], "rescreen", j, validation[i, j], test[i, j]) for i in close for j in again]
        best = min(close, key=lambda i: float(validation[i, list(again)].mean()))
    confirm = range(p.seeds + p.rescreen_seeds, total)
    rows += [row(best, points[best], "confirm", j, validation[best, j], test[best, j]) for j in confirm]
    return rows, float(points[best])


def _row(name: str, arm: Arm, split: int, p: Procedure, generator: np.random.Generator):  # type: ignore[no-untyped-def]
    noises = np.exp(0.2 * generator.standard_normal(1000))

    def make(i: int, point: float, stage: str, j: int, validation: float, test: float) -> dict[str, Any]:
        eta = BOUNDS["low"] * (BOUNDS["high"] / BOUNDS["low"]) ** point
        noise = float(noises[(31 * i + j) % 1000])
        own = float(noises[(57 * i + 7 * j + 3) % 1000])
        measured = stage == "confirm"
        first = {"search": 0, "rescreen": 1000, "confirm": 2000}[stage]
        offset = {"search": 0, "rescreen": p.seeds, "confirm": p.seeds + p.rescreen_seeds}[stage]
        return {
            **{"schema_version": 1, "run": "fabricated", "space_hash": "0", "trial_id": f"{name}-{split}-{i:02d}"},
            **{"seed": first + j - offset, "stage": stage, "arm": name, "split_seed": split, "data": "digits"},
            **{
                "model": "mlp",
                "batch_size": arm.batch_size,
                "eta_over_b": eta,
                "lr": eta * arm.batch_size,
                "momentum": 0.9,
            },
            **{"remedies": ",".join(arm.remedies), "sam.rho": 0.05 * 10**point if "sam" in arm.remedies else None},
            **{"status": "completed", "validation_error": validation, "test_error": test, "test_error_running": test},
            **{"train_error": arm.train_error, "generalization_gap": test - arm.train_error, "epochs": 20.0},
            **{"train_loss": arm.train_loss * noise, "generalization_gap_loss": 0.1, "test_loss": 0.1},
            **{
                "lambda_max": arm.lambda_max * own if measured else None,
                "lambda_max.residual": 1e-4 if measured else None,
            },
            **{"lambda_max.batch_norm": "recomputed" if measured else None},
            **{"keskar.full_1e-3": 3 * arm.lambda_max * own * noise if measured else None},
            **{"wall_s": 0.5 * arm.cost, "examples": 8000, "updates": 8000 // arm.batch_size},
            **{"gradient_evaluations": int(8000 // arm.batch_size * arm.cost), "peak_memory_bytes": 10**8},
            **{
                "git_commit": "abc",
                "tune_lb_version": "0.1.0",
                "torch_version": "2",
                "device": "cpu",
                "execution": "alone",
            },
            **{"threads": 1, "finished_at": f"2026-01-01T00:00:00.{i:03d}Z"},
        }

    return make


def space(arms: Mapping[str, Arm], p: Procedure) -> dict[str, Any]:
    """The space.json of such a run."""
    roles = {arm.role: name for name, arm in reversed(list(arms.items()))}
    entries = [
        {
            **{"name": name, "role": arm.role, "batch_size": arm.batch_size, "remedies": list(arm.remedies)},
            **{"dimensions": {} if arm.role in ("copied", "scaled") else {"eta_over_b": BOUNDS, **arm.dimensions}},
            **{"num_samples": p.num_trials, "cost": arm.cost, "shares_points": arm.role != "placebo", "epochs": 20.0},
            "matched_by": arm.matched_by,
        }
        for name, arm in arms.items()
    ]
    return {
        **{
            "schema_version": 1,
            "name": "fabricated",
            "question": "What does this fabricated search find?",
            "hash": "0",
        },
        **{"asked": {}, "baseline": roles.get("baseline"), "reference": roles.get("reference")},
        **{"placebo": roles.get("placebo"), "arms": entries, "split_seeds": list(p.split_seeds), "seeds": p.seeds},
        **{"rescreen_seeds": p.rescreen_seeds, "confirm_seeds": p.confirm_seeds, "sampler": p.sampler},
        **{
            "scheduler": p.scheduler,
            "metrics": ["lambda_max", "keskar"],
            "execution": "alone",
            "threads": 1,
            "device": "cpu",
        },
        "data": {
            **{"name": "digits", "num_train": 400, "num_validation": 400, "num_test": p.num_test, "num_classes": 10},
            **{"own_test_split": False, "fingerprints": {}},
        },
    }


def store_run(frames: Frames, folder: str, seed: int = 0) -> Store:
    """Write a fabricated run as workers would, with history and with predictions of the confirmed members."""
    store, generator = Store(folder), np.random.default_rng(seed)
    noise = 0.02 * generator.standard_normal((4000, 16))
    data = frames.space["data"]
    targets = {s: generator.integers(0, 10, data["num_test"]) for s in frames.space["split_seeds"]}
    difficulty = generator.random(data["num_test"])
    write_space(store, frames.space)
    write_targets(store, {s: encode_predictions(t, data["num_classes"]) for s, t in targets.items()})
    for (trial_id, stage), rows in frames.members.groupby(["trial_id", "stage"]):
        records = [{k: v for k, v in row.items() if v is not None and v == v} for row in rows.to_dict("records")]
        history, predictions = [], []
        for record in records:
            history += history_of(record)
            shift = np.resize(noise[record["seed"]], difficulty.size)
            wrong = difficulty + shift < record["test_error"]
            classes = np.where(wrong, (targets[record["split_seed"]] + 1) % 10, targets[record["split_seed"]])
            key = {"trial_id": trial_id, "seed": record["seed"]}
            predictions.append({**key, "predictions": encode_predictions(classes, 10)})
        stem = trial_stem(str(trial_id), str(stage), [record["seed"] for record in records])
        table = to_table(HISTORY_SCHEMA, history, "history")
        write_trial(store, stem, members_schema(COLUMNS), records, table, predictions if stage == "confirm" else [])
    merge(store)
    return store


def history_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Twenty epochs of one member."""
    key = {"trial_id": record["trial_id"], "seed": record["seed"]}
    rows = []
    for epoch in range(1, 21):
        at = {**key, "step": epoch * record["updates"] // 20, "epoch": float(epoch), "wall_s": 0.02 * epoch}
        loss = record.get("train_loss", 1.0) + 2.3 * math.exp(-epoch / 2)
        rows += [{**at, "name": name, "value": loss} for name in ("running_train_loss", "train_loss")]
        rows += [{**at, "name": "validation_error", "value": record["validation_error"] + 0.5 * math.exp(-epoch / 2)}]
        rows += [{**at, "name": "lr", "value": record["lr"] * (1 + math.cos(math.pi * epoch / 20)) / 2}]
        if record["stage"] == "confirm" and epoch == 10:
            rows += [{**at, "name": "lambda_max@0.1", "value": 10 * loss}]
    return rows

"""Runs of blocks with known effects, made without training: search, decide, confirm as the planner does them.

The error of a configuration is a parabola in the unit coordinate of eta_over_b. To it come the block's effect (the same for all
arms), that of arm and block, and the member's; validation loss and soft error follow the member's error with noises of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import Frames
from tests.analysis.old_design.fabrication import ARMS, BOUNDS, COLUMNS, Arm, history_of
from tests.rows import trial_stem
from tune_lb.inference.decision import decide
from tune_lb.results.columns import members_schema, roles_of
from tune_lb.results.member_rows import write_trial
from tune_lb.results.merger import HISTORY_SCHEMA
from tune_lb.results.run_files import merge, write_space, write_targets
from tune_lb.results.storage import Store
from tune_lb.results.tables import encode_predictions, to_table

FIRST = {"search": 0, "decide": 1000, "confirm": 2000}
TRIED_LONGER = Arm(0.045, "compute_matched", cost=1.0)

__all__ = ["ARMS", "TRIED_LONGER", "Arm", "Procedure", "fabricate", "space", "store_run"]


@dataclass(frozen=True)
class Procedure:
    """Sizes and noises of a fabricated run; standard deviations in fractions."""

    num_samples: int = 12
    candidates: int = 3
    decide_blocks: int = 4
    confirm_blocks: int = 10
    block_seeds: int = 2
    measured_blocks: int = 8
    curvature: float = 0.08
    block_std: float = 0.004
    arm_block_std: float = 0.001
    member_std: float = 0.002
    loss_noise: float = 0.02
    select_by: str = "auto"
    sampler: str = "sobol"
    fresh_splits: bool = True
    own_test_split: bool = False
    num_test: int = 300
    num_examples: int = 700


def fabricate(arms: Mapping[str, Arm] = ARMS, procedure: Procedure = Procedure(), seed: int = 0) -> Frames:
    """Search, decide and confirm every arm; arms share points and blocks, the placebo those of the confirm stage only."""
    rows: list[dict[str, Any]] = []
    shared = np.random.default_rng((seed, 0)).random(procedure.num_samples)
    own = np.random.default_rng((seed, 1)).random(procedure.num_samples)
    chosen, selected = 0.5, {}
    for name, arm in arms.items():
        points = own if arm.role == "placebo" else shared
        if arm.role in ("copied", "scaled"):
            points = np.array([chosen])
        found, best = _searched(name, arm, points, arms, procedure, seed)
        rows += found
        selected[name] = _configuration(name, best)
        chosen = points[best] if arm.role == "baseline" else chosen
    history = HISTORY_SCHEMA.empty_table().to_pandas()
    descriptions = {column.name: column.description for column in COLUMNS}
    known = space(arms, procedure) | {"selected": selected}
    return Frames(known, pd.DataFrame(rows), history, descriptions, roles_of(members_schema(COLUMNS)))


def _searched(
    name: str, arm: Arm, points: np.ndarray, arms: Mapping[str, Arm], p: Procedure, seed: int
) -> tuple[list[dict[str, Any]], int]:
    """The rows of one arm, and the number of the selected point."""
    # an arm like another has its draws: it is the same under another name
    stream = list(arms).index(arm.like) if arm.like else list(arms).index(name)
    is_placebo = arm.role == "placebo"

    def member(i: int, stage: str, block: int, j: int = 0) -> dict[str, Any]:
        number = block + (500 if is_placebo and stage != "confirm" else 0)
        first = FIRST[stage] + number
        of_block = np.random.default_rng((seed, 2, first)).standard_normal()
        of_arm = np.random.default_rng((seed, 3, first, stream)).standard_normal()
        # members of one configuration in one block and seed are one member, whatever the arm is called
        noise = np.random.default_rng((seed, 4, first, j, stream, i)).standard_normal(6)
        error = arm.error + p.curvature * (points[i] - arm.best) ** 2
        error += p.block_std * of_block + p.arm_block_std * of_arm
        test = error + p.member_std * noise[0]
        loss = 0.1 * (error / 0.05) * math.exp(p.loss_noise * noise[1])
        soft = error * math.exp(p.loss_noise * noise[2])
        return _row(name, arm, stage, number, first, j, i, float(points[i]), p) | {
            **{"validation_loss": loss, "validation_soft_error": soft},
            **{"validation_error": error + p.member_std * noise[3], "test_error": test, "test_error_running": test},
            **{"generalization_gap": test - arm.train_error},
            **{"train_loss": arm.train_loss * math.exp(0.2 * noise[4])},
            **_metrics(arm, noise[5], measured=stage == "confirm" and block < p.measured_blocks and j == 0),
        }

    rows: list[dict[str, Any]] = []
    best = 0
    if len(points) > 1:
        rows = [member(i, "search", 0) for i in range(len(points))]
        order = sorted(range(len(points)), key=lambda i: rows[i]["validation_loss"])[: p.candidates]
        decide_blocks = p.decide_blocks if p.candidates > 1 else 0
        tables = [[member(i, "decide", b) for b in range(decide_blocks)] for i in order]
        rows += [row for table in tables for row in table]
        best = order[0]
        if p.candidates > 1:
            loss, soft = (
                np.array([[row[column] for row in table] for table in tables])
                for column in ("validation_loss", "validation_soft_error")
            )
            best = order[decide(loss, None if p.select_by == "loss" else soft, math.log(10))]
    rows += [member(best, "confirm", b, j) for b in range(p.confirm_blocks) for j in range(p.block_seeds)]
    return rows, best


def _metrics(arm: Arm, noise: float, *, measured: bool) -> dict[str, Any]:
    value = arm.lambda_max * math.exp(0.2 * noise)
    return {
        "lambda_max": value if measured else None,
        "lambda_max.residual": 1e-4 if measured else None,
        "lambda_max.batch_norm": "recomputed" if measured else None,
        "keskar.full_1e-3": 3 * value if measured else None,
    }


def _configuration(name: str, i: int) -> str:
    return f"{name}_{i:02d}"


def _row(
    name: str, arm: Arm, stage: str, block: int, first: int, j: int, i: int, point: float, p: Procedure
) -> dict[str, Any]:
    eta = BOUNDS["low"] * (BOUNDS["high"] / BOUNDS["low"]) ** point
    split = first if p.fresh_splits else 0
    return {
        **{"schema_version": 1, "run": "fabricated", "space_hash": "0"},
        **{"trial_id": f"{name}_{i:02d}_{split}", "configuration_id": _configuration(name, i)},
        **{"seed": first + 100_000 * j, "stage": stage, "block": block, "arm": name, "split_seed": split},
        **{"data": "digits", "model": "mlp", "loss": "cross_entropy", "batch_size": arm.batch_size},
        **{"eta_over_b": eta, "lr": eta * arm.batch_size, "momentum": 0.9, "remedies": ",".join(arm.remedies)},
        **{"sam.rho": 0.05 * 10**point if "sam" in arm.remedies else None, "status": "completed"},
        **{"train_error": arm.train_error, "epochs": 20.0, "generalization_gap_loss": 0.1, "test_loss": 0.1},
        **{"wall_s": 0.5 * arm.cost, "examples": 8000, "updates": 8000 // arm.batch_size},
        **{"gradient_evaluations": int(8000 // arm.batch_size * arm.cost), "peak_memory_bytes": 10**8},
        **{"git_commit": "abc", "tune_lb_version": "0.1.0", "torch_version": "2", "device": "cpu"},
        **{"execution": "alone", "threads": 1, "finished_at": "2026-01-01T00:00:00.000Z"},
    }


def space(arms: Mapping[str, Arm], p: Procedure) -> dict[str, Any]:
    """The space.json of such a run."""
    roles = {arm.role: name for name, arm in reversed(list(arms.items()))}
    entries = [
        {
            **{"name": name, "role": arm.role, "batch_size": arm.batch_size, "remedies": list(arm.remedies)},
            **{"dimensions": {} if arm.role in ("copied", "scaled") else {"eta_over_b": BOUNDS, **arm.dimensions}},
            **{"num_samples": p.num_samples, "cost": arm.cost, "shares_points": arm.role != "placebo"},
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
        **{"procedure": "blocks", "asked": {}, "baseline": roles.get("baseline"), "reference": roles.get("reference")},
        **{"placebo": roles.get("placebo"), "arms": entries, "num_samples": p.num_samples, "candidates": p.candidates},
        **{"decide_blocks": p.decide_blocks, "confirm_blocks": p.confirm_blocks, "block_seeds": p.block_seeds},
        **{"measured_blocks": p.measured_blocks, "watched_blocks": 2, "fresh_splits": p.fresh_splits},
        **{"select_by": p.select_by, "sampler": p.sampler, "exchangeable": p.sampler != "tpe", "scheduler": None},
        **{"metrics": ["lambda_max", "keskar"], "execution": {}},
        "data": {
            **{"name": "digits", "num_train": 200, "num_validation": 200, "num_test": p.num_test, "num_classes": 10},
            **{"own_test_split": p.own_test_split, "fingerprints": {}},
        },
    }


def store_run(frames: Frames, folder: str, seed: int = 0) -> Store:
    """Write a fabricated run as workers would, with history and with predictions of the confirm members.

    An example of the whole data has a difficulty of its own, the same in all cuts that test it.
    """
    store, generator = Store(folder), np.random.default_rng(seed)
    data = frames.space["data"]
    whole = generator.integers(0, 10, 700)
    difficulty = generator.random(700)
    splits = sorted({int(s) for s in frames.members["split_seed"]}) if len(frames.members) else [0]
    fixed = data["own_test_split"] or not frames.space["fresh_splits"]
    cuts = {s: np.random.default_rng((seed, 0 if fixed else s)).permutation(700)[: data["num_test"]] for s in splits}
    write_space(store, frames.space)
    write_targets(
        store,
        {s: encode_predictions(whole[cut], data["num_classes"]) for s, cut in cuts.items()},
        examples=cuts,
    )
    for (trial_id, stage), rows in frames.members.groupby(["trial_id", "stage"]):
        for row in rows.to_dict("records"):
            record = {k: v for k, v in row.items() if v is not None and v == v}
            cut = cuts[record["split_seed"]]
            shift = 0.02 * np.random.default_rng((seed, 1, record["seed"])).standard_normal(cut.size)
            wrong = difficulty[cut] + shift < record["test_error"]
            classes = np.where(wrong, (whole[cut] + 1) % 10, whole[cut])
            predictions = [
                {"trial_id": trial_id, "seed": record["seed"], "predictions": encode_predictions(classes, 10)}
            ]
            stem = trial_stem(str(trial_id), str(stage), [record["seed"]])
            table = to_table(HISTORY_SCHEMA, history_of(record), "history")
            write_trial(
                store, stem, members_schema(COLUMNS), [record], table, predictions if stage == "confirm" else []
            )
    merge(store)
    return store

"""Rows such as workers write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tune_lb.results.columns import Column, members_schema
from tune_lb.results.member_rows import write_trial
from tune_lb.results.storage import Store

EXTRA = (
    Column("sam.rho", "float", "radius of the ascent step; 0 for none"),
    Column("lambda_max.hvps", "int", "Hessian-vector products made"),
    Column("lambda_max.converged", "bool", "whether the residual reached the tolerance"),
    Column("lambda_max.split", "str", "data measured on"),
)
SCHEMA = members_schema(EXTRA)


def member(trial_id: str = "a", seed: int = 0, **changes: Any) -> dict[str, Any]:
    row = {
        "run": "quickstart",
        "space_hash": "0f",
        "trial_id": trial_id,
        "seed": seed,
        "stage": "search",
        "arm": "sam",
        "split_seed": 0,
        "status": "completed",
        "test_error": 0.25,
        "finished_at": f"2026-01-01T00:00:{seed:02d}+00:00",
    }
    return row | changes


def history(trial_id: str = "a", seed: int = 0, num_rows: int = 2) -> list[dict[str, Any]]:
    row = {"trial_id": trial_id, "seed": seed, "epoch": 1.0, "wall_s": 0.5, "name": "train_loss"}
    return [row | {"step": step, "value": 1.0 / (step + 1)} for step in range(num_rows)]


def trial_stem(trial_id: str, stage: str, seeds: Sequence[int]) -> str:
    """Return the name of the files of a training as in runs made before blocks."""
    return f"{trial_id}.{stage}.{min(seeds)}-{max(seeds)}"


def store_trial(store: Store, trial_id: str = "a", seeds: range = range(2), **changes: Any) -> str:
    """Write a trial with two history rows and one list of predictions per member."""
    stem = trial_stem(trial_id, "search", seeds)
    rows = [member(trial_id, seed, **changes) for seed in seeds]
    recorded = [row for seed in seeds for row in history(trial_id, seed)]
    predictions = [{"trial_id": trial_id, "seed": seed, "predictions": bytes([seed, 1])} for seed in seeds]
    write_trial(store, stem, SCHEMA, rows, recorded, predictions)
    return stem

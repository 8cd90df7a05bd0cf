"""What a sampler seeks, where that is more or other than a low validation loss, and what the front of each arm is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tune_lb.errors import nearest
from tune_lb.metrics.metric import Metric
from tune_lb.samplers.sampler import Sampler

OUTCOMES = ("validation_loss", "validation_error", "validation_soft_error", "train_loss", "train_error")
COSTS = ("gradient_evaluations", "examples", "updates", "wall_s", "peak_memory_bytes")


def column_of(objective: str) -> str:
    """Return the column of the members that an objective is of: -margin is the column margin, of which more is better."""
    return objective.removeprefix("-")


def objective_value(objective: str, row: Mapping[str, Any]) -> float | None:
    """Return what a member has of an objective, lower is better; None where its row has nothing there."""
    value = row.get(column_of(objective))
    return None if value is None else -float(value) if objective.startswith("-") else float(value)


def objective_problems(
    objectives: tuple[str, ...], metrics: tuple[Metric, ...], metrics_on: str, sampler: Sampler, where: str
) -> list[str]:
    """Return what is wrong with the objectives of a space."""
    place = f"{where}.objectives = {objectives!r}"
    if not isinstance(objectives, tuple | list) or not all(isinstance(name, str) for name in objectives):
        return [f"{place}: a tuple of names of columns is needed, as ('validation_loss', 'lambda_max')"]
    measured = [name for metric in metrics if hasattr(metric, "columns") for name in metric.columns()]
    found = []
    for name in map(column_of, objectives):
        if name.startswith("test_") or name.startswith("generalization_gap"):
            found.append(f"{place}: {name} is of the test part, which chooses nothing; take validation_error")
        elif name in measured and metrics_on != "all":
            found.append(f"{place}: {name} is measured on confirmed members only; give metrics_on='all'")
        elif name not in (*OUTCOMES, *COSTS, *measured):
            known = [*OUTCOMES, *COSTS, *measured]
            found.append(f"{place}: no member has {name!r} (a metric is named in metrics=){nearest(name, known)}")
    columns = [column_of(name) for name in objectives]
    found += [f"{place}: {name} is given twice" for name in sorted({n for n in columns if columns.count(n) > 1})]
    if len(objectives) > 1 and sampler.learns and not sampler.several:
        found.append(f"{place}: sampler {sampler.name} seeks one objective; take tpe, gp or nsga2, or give one")
    return found

"""The outcome of a training: the part of a member's row that training, evaluation and metrics determine."""

from __future__ import annotations

import resource
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tune_lb.data.device import Parts
from tune_lb.metrics.measuring import measure_members
from tune_lb.metrics.metric import Metric, Value, reason_of, unmeasured
from tune_lb.observation.surfaces import surfaces_over
from tune_lb.training.evaluation import Quality, chance, quality, recalibrated
from tune_lb.training.gradient import Buffers, Params
from tune_lb.training.members import TrainedMember
from tune_lb.training.running import Running

METRIC_SEED = 0
"""All members are measured with the same random draws (start vectors, random subspace, subset of examples)."""

Seen = tuple[float, float, float | None]
"""Validation loss, error and soft error of a member."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Outcome:
    """What is kept of one member."""

    row: dict[str, Any]
    predictions: list[int] | None
    """Predicted class of every test example; None for a diverged member, and where targets are not classes."""
    weights: dict[str, torch.Tensor]
    unobserved: dict[str, str] = field(default_factory=dict)
    """Why alternatives could not be evaluated, by `@<name>`."""


def outcomes(
    training: Running, *, metrics: Sequence[Metric], wall_s: float, parts: Parts | None = None
) -> list[Outcome]:
    """Return the outcome of every member of a finished training. parts: the data to see it on, the training's own if None.

    Errors are those of the space (tune_lb.prediction_errors), losses nats; all but test_error_running with batch-norm statistics
    recomputed over the clean train set. A diverged member counts as chance: error 1 - 1 / classes, no loss, no gap. What cannot
    be measured is null with its reason, see measured_values; alternatives that cannot be evaluated are null, their reason in
    `unobserved`.
    """
    parts = parts or training.parts
    members = list(training.trained())
    found = [_outcome(training, parts, member, wall_s / len(members)) for member in members]
    values = measured_values(training, metrics, parts=parts) if metrics else {}
    for outcome in found:
        outcome.row.update(values.get(outcome.row["seed"], {}))
    return found


def measured_values(
    training: Running, metrics: Sequence[Metric], parts: Parts | None = None, seeds: Collection[int] | None = None
) -> dict[int, dict[str, Value]]:
    """Return what the metrics say of each member of a finished training by seed, over the train set. seeds: only of these.

    A metric that raises, whatever it is, leaves nulls and its reason; the others go on. Also `lr_times_lambda_max`, where
    lambda_max was measured.
    """
    parts = parts or training.parts
    members = [member for member in training.trained() if seeds is None or member.seed in seeds]
    module, loss = training.evaluation_module, training.trial.example_loss
    rows: dict[int, dict[str, Value]] = {
        member.seed: unmeasured(metrics, f"the member diverged at step {member.diverged_at_step}") for member in members
    }
    ended = [member for member in members if member.diverged_at_step is None]
    if not metrics or not ended:
        return rows
    try:
        pairs = [(own.params, recalibrated(module, own.params, own.buffers, parts.train)) for own in ended]
        with surfaces_over(module, pairs, loss, parts.train) as surfaces:
            found = measure_members(metrics, surfaces, METRIC_SEED)
    except Exception as error:  # raised by the user's network, loss or metric: it never costs a trained member
        found = [unmeasured(metrics, reason_of(error)) for _ in ended]
    for member, row in zip(ended, found, strict=True):
        value = row.get("lambda_max")
        rows[member.seed] = row
        if isinstance(value, float):
            row["lr_times_lambda_max"] = training.trial.learning_rate * value
    return rows


def looked_at(training: Running) -> dict[int, Seen]:
    """Return validation loss, error and soft error, now, of every member that has not diverged, as `outcomes` takes them.

    Cost: a pass over the validation part, and one over the train set where there is batch norm.
    """
    found = {}
    module, trial, parts = training.evaluation_module, training.trial, training.parts
    for member in training.trained():
        if member.diverged_at_step is None:
            buffers = recalibrated(module, member.params, member.buffers, parts.train)
            own = quality(module, member.params, buffers, trial.example_loss, parts.validation, trial.error, soft=True)
            found[member.seed] = own.loss, own.error, own.soft_error
    return found


def stopped_rows(training: Running, seen: Mapping[int, Seen], wall_s: float) -> list[dict[str, Any]]:
    """Return the rows of members that are stopped here, or go on later: what they cost, and what was seen of them at this look."""
    rows = []
    members = list(training.trained())
    for member in members:
        loss, error, soft = seen[member.seed]
        quality_columns = {"validation_loss": loss, "validation_error": error, "validation_soft_error": soft}
        row = _row(training, member, wall_s / len(members)) | quality_columns
        rows.append(row | {"status": "stopped", "stop_reason": "halving"})
    return rows


def _outcome(training: Running, parts: Parts, member: TrainedMember, wall_s: float) -> Outcome:
    row = _row(training, member, wall_s)
    weights = member.params | member.buffers
    if member.diverged_at_step is not None:
        # with an empty validation part nothing is selected: any number does
        names = [name for name in SPLITS if len(getattr(parts, name))]
        errors = {f"{name}_error": chance(parts, name, training.trial.error) for name in names}
        errors |= {"validation_error": errors.get("validation_error", errors["test_error"])}
        errors |= {"test_error_running": errors["test_error"]}
        row |= {"status": "diverged", "stop_reason": "diverged", **errors}
        return Outcome(row, None, weights)
    module, loss = training.evaluation_module, training.trial.example_loss
    found = _qualities(training, parts, member.params, member.buffers)
    for name, value in found.items():
        row |= {f"{name}_loss": value.loss, f"{name}_error": value.error}
    if "validation" in found:
        row["validation_soft_error"] = found["validation"].soft_error
    unobserved: dict[str, str] = {}
    for key, params in member.alternatives.items():
        try:
            others = _qualities(training, parts, params, member.buffers)
        except Exception as error:  # raised by the user's network at other weights than those that count
            unobserved[f"@{key}"] = reason_of(error)
            continue
        for name, value in others.items():
            row |= {f"{name}_loss@{key}": value.loss, f"{name}_error@{key}": value.error}
    running = quality(module, member.params, member.buffers, loss, parts.test, training.trial.error)
    row |= {
        "status": "completed",
        "test_error_running": running.error,
        "generalization_gap": row["test_error"] - row["train_error"],
        "generalization_gap_loss": row["test_loss"] - row["train_loss"],
    }
    predictions = found["test"].predictions
    return Outcome(row, None if predictions is None else predictions.tolist(), weights, unobserved)


def _row(training: Running, member: TrainedMember, wall_s: float) -> dict[str, Any]:
    """Return the columns of a member that say how it was trained, as far as it was."""
    plan = training.plan
    updates = training.step if member.stopped_at_step is None else member.stopped_at_step
    updates = updates if member.diverged_at_step is None else member.diverged_at_step + 1
    return training.trial.columns() | {
        "seed": member.seed,
        "epochs": plan.boundaries[updates] / plan.num_train if member.stopped_at_step else plan.num_epochs,
        "noise_scale": noise_scale(training),
        "diverged_at_step": member.diverged_at_step,
        "stop_reason": "budget" if member.stopped_at_step is None else "plateau",
        "wall_s": wall_s,
        "examples": plan.boundaries[updates],
        "updates": updates,
        "gradient_evaluations": round(updates * plan.evaluations_per_update),
        "peak_memory_bytes": peak_memory_bytes(training.device),
        "execution": training.execution,
        "microbatch": training.microbatch,
        "device": str(training.device),
        "threads": torch.get_num_threads(),
        "torch_version": str(torch.__version__),
    }


def _qualities(training: Running, parts: Parts, params: Params, buffers: Buffers) -> dict[str, Quality]:
    """Return loss, error and predictions by part, with batch-norm statistics recomputed over the train set."""
    module, loss = training.evaluation_module, training.trial.example_loss
    statistics = recalibrated(module, params, buffers, parts.train)
    named = (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
    error = training.trial.error
    return {
        name: quality(module, params, statistics, loss, part, error, soft=name == "validation")
        for name, part in named
        if len(part)
    }


def noise_scale(training: Running) -> float:
    """Return eta N / (B (1 - momentum)), the scale of SGD's noise at the peak rate (Smith and Le, 2018, eq. 11, N >> B)."""
    trial = training.trial
    return (
        trial.learning_rate
        * training.plan.num_train
        / (trial.batch_size * (1.0 - trial.optimizer.effective_momentum()))
    )


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory held so far: of the GPU by this process, or of the process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024

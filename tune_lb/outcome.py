"""The outcome of a training run: the part of a member's row that training, evaluation and metrics determine."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tune_lb.data.device import Examples
from tune_lb.evaluation import quality, recalibrated
from tune_lb.gradient import Buffers
from tune_lb.member_surfaces import MemberSurfaces
from tune_lb.members import TrainedMember
from tune_lb.metric import Metric, Value, measure_all, measure_members, unmeasured
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.phased import Running
from tune_lb.surface import LossSurface
from tune_lb.training import HistoryRow
from tune_lb.walk import Walk, Walker, walk_costs
from tune_lb.watch import Watch, Watcher

CROSSINGS = (0.3, 0.1, 0.03, 0.01)
"""Train losses (nats) at whose first crossing lambda_max is stored, so that arms can be compared at equal loss."""

METRIC_SEED = 0
"""All members are measured with the same random draws (start vectors, random subspace, subset of examples)."""


@dataclass(frozen=True)
class Outcome:
    """What is kept of one member."""

    row: dict[str, Any]
    predictions: list[int] | None
    """Predicted class of every test example; None for a diverged member."""
    weights: dict[str, torch.Tensor]


class Observer:
    """Trains to the end while it looks on: clean losses at epoch ends, lambda_max when the train loss crosses a threshold.

    Looking costs evaluations, not gradients, and changes nothing in the training. Without `watched` it only trains.
    """

    def __init__(
        self,
        training: Running,
        *,
        watched: bool,
        crossings: Sequence[float] = CROSSINGS,
        walk: Walk | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.training, self.watched = training, watched
        self.walker = Walker(walk, training) if watched and walk is not None else None
        self.watcher = Watcher(watch, training, METRIC_SEED) if watched and watch is not None else None
        self.crossings: dict[int, list[float]] = {}
        self.thresholds = tuple(crossings)
        self.wall_s = 0.0

    def advance(self, epochs: float = 1.0) -> list[HistoryRow]:
        """Train on and return what was seen."""
        started = time.perf_counter()
        looked = self.walker.looking_s if self.walker else 0.0
        rows = (self.walker or self.training).advance(epochs)
        self.wall_s += time.perf_counter() - started
        if self.walker:
            self.wall_s -= self.walker.looking_s - looked
        return rows + self._looked() if self.watched else rows

    def _looked(self) -> list[HistoryRow]:
        rows = self.training.evaluate() + (self.watcher.look() if self.watcher else [])
        members = {member.seed: member for member in self.training.trained()}
        for row in list(rows):
            left = self.crossings.setdefault(row.seed, list(self.thresholds))
            crossed = [limit for limit in left if row.value < limit] if row.name == "train_loss" else []
            if crossed:
                self.crossings[row.seed] = [limit for limit in left if limit not in crossed]
                found = _lambda_max(self.training, members[row.seed])
                if found is not None:
                    rows += [row._replace(name=f"lambda_max@{limit:g}", value=found) for limit in crossed]
        return rows


def outcomes(training: Running, *, metrics: Sequence[Metric], wall_s: float) -> list[Outcome]:
    """Return the outcome of every member of a finished training.

    Errors are shares of examples, losses nats; all but test_error_running with batch-norm statistics recomputed over the
    clean train set. A diverged member counts as chance: error 1 - 1 / classes, no loss, no gap.
    """
    members = list(training.trained())
    module, train = training.evaluation_module, training.parts.train
    statistics = {
        member.seed: recalibrated(module, member.params, member.buffers, train)
        for member in members
        if member.diverged_at_step is None
    }
    measured = _measured(training, members, statistics, metrics)
    return [
        _outcome(training, member, statistics.get(member.seed), measured[member.seed], wall_s / len(members))
        for member in members
    ]


def _measured(
    training: Running, members: Sequence[TrainedMember], statistics: Mapping[int, Buffers], metrics: Sequence[Metric]
) -> dict[int, dict[str, Value]]:
    """Return what the metrics say of each member by seed, over the train set."""
    rows: dict[int, dict[str, Value]] = {
        member.seed: unmeasured(metrics, f"the member diverged at step {member.diverged_at_step}") for member in members
    }
    ended = [member for member in members if member.seed in statistics]
    if not metrics or not ended:
        return rows
    train: Examples = training.parts.train
    with MemberSurfaces(
        training.evaluation_module,
        [(member.params, statistics[member.seed]) for member in ended],
        training.trial.loss,
        train.inputs,
        train.targets,
        transform=train.standardized_values,
    ) as surfaces:
        found = measure_members(metrics, surfaces, METRIC_SEED)
    return rows | {member.seed: row for member, row in zip(ended, found, strict=True)}


def _outcome(
    training: Running, member: TrainedMember, buffers: Buffers | None, measured: Mapping[str, Value], wall_s: float
) -> Outcome:
    plan, parts = training.plan, training.parts
    updates = training.step if member.stopped_at_step is None else member.stopped_at_step
    updates = updates if member.diverged_at_step is None else member.diverged_at_step + 1
    row: dict[str, Any] = training.trial.columns() | {
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
    weights = member.params | member.buffers
    if buffers is None:
        chance = 1.0 - 1.0 / parts.num_classes
        errors = dict.fromkeys(("train_error", "validation_error", "test_error", "test_error_running"), chance)
        row |= {"status": "diverged", "stop_reason": "diverged", **errors, **measured}
        return Outcome(row, None, weights)
    module, loss = training.evaluation_module, training.trial.loss
    found = {
        name: quality(module, member.params, buffers, loss, part)
        for name, part in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
        if len(part.targets)
    }
    for name, value in found.items():
        row |= {f"{name}_loss": value.loss, f"{name}_error": value.error}
    for key, params in member.alternatives.items():
        statistics = recalibrated(module, params, member.buffers, parts.train)
        for name in found:
            other = quality(module, params, statistics, loss, getattr(parts, name))
            row |= {f"{name}_loss@{key}": other.loss, f"{name}_error@{key}": other.error}
    running = quality(module, member.params, member.buffers, loss, parts.test)
    row |= {
        "status": "completed",
        "test_error_running": running.error,
        "generalization_gap": row["test_error"] - row["train_error"],
        "generalization_gap_loss": row["test_loss"] - row["train_loss"],
        **measured,
    }
    if isinstance(row.get("lambda_max"), float):
        row["lr_times_lambda_max"] = row["lr"] * row["lambda_max"]
    return Outcome(row, found["test"].predictions.tolist(), weights)


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


def _surface(training: Running, member: TrainedMember, buffers: Buffers) -> LossSurface:
    train: Examples = training.parts.train
    return LossSurface(
        training.evaluation_module,
        member.params,
        buffers,
        training.trial.loss,
        train.inputs,
        train.targets,
        transform=train.standardized_values,
    )


def _lambda_max(training: Running, member: TrainedMember) -> float | None:
    buffers = recalibrated(training.evaluation_module, member.params, member.buffers, training.parts.train)
    with _surface(training, member, buffers) as surface:
        found = measure_all([LambdaMax(tolerance=1e-2)], surface, METRIC_SEED)["lambda_max"]
    return found if isinstance(found, float) else None


def train_arm(
    training: Running,
    metrics: Sequence[Metric] = (),
    on_history: Callable[[HistoryRow], None] | None = None,
    walk: Walk | None = None,
    watch: Watch | None = None,
) -> Mapping[str, Any]:
    """Train the single member of a training to the end, in this process, and return its row."""
    observer = Observer(training, watched=on_history is not None, crossings=(), walk=walk, watch=watch)
    rows = []
    while not training.done:
        for row in observer.advance():
            rows.append(row)
            if on_history is not None:
                on_history(row)
    found = outcomes(training, metrics=metrics, wall_s=observer.wall_s)[0].row
    return found | walk_costs(rows).get(found["seed"], {})

"""The work of one job: train its members, measure them, and store what came out. No Ray; a worker drives it step by step."""

from __future__ import annotations

import datetime
import json
import time
import traceback
from typing import Any

import safetensors
import safetensors.torch
import torch

from tune_lb.data.device import Parts
from tune_lb.observation.observer import Observer
from tune_lb.observation.outcome import Outcome, outcomes
from tune_lb.observation.walker import walk_costs
from tune_lb.pause import pause
from tune_lb.results.member_rows import trial_stem, write_trial
from tune_lb.results.tables import encode_predictions
from tune_lb.search.job import Job
from tune_lb.training.members import HistoryRow
from tune_lb.training.phased_training import begun
from tune_lb.tuning.replay import score_of
from tune_lb.tuning.run_context import RunContext


class RunningJob:
    """One job in progress. Checkpoints let a killed one go on where it was; it is stored before it says that it is done."""

    def __init__(self, job: Job, parts: Parts, context: RunContext) -> None:
        self.job, self.context = job, context
        self.stem = trial_stem(job.trial_id, job.stage, job.seeds)
        way = context.execution[job.arm]
        self.training = begun(job.trial, job.seeds, parts, execution=way, microbatch=context.microbatch)
        self.observer = Observer(self.training, watched=job.is_watched, walk=context.walk, watch=context.watch)
        self.history: list[tuple[HistoryRow, float]] = []
        self.saved_at = time.monotonic()
        self._restore()

    def advance(self, at_least_s: float) -> bool:
        """Train for at least so many seconds, in whole epochs; say whether training is done."""
        started = time.monotonic()
        while not self.training.done:
            rows = self.observer.advance()
            self.history += [(row, self.observer.wall_s) for row in rows]
            if time.monotonic() - self.saved_at > self.context.checkpoint_every_s and not self.training.done:
                self._save()
            if time.monotonic() - started >= at_least_s:
                break
        return self.training.done

    def finish(self) -> dict[int, float]:
        """Measure and store every member; return their validation errors by seed."""
        metrics = self.context.metrics_of(self.job.stage)
        found = outcomes(self.training, metrics=metrics, wall_s=self.observer.wall_s)
        rows = [self._row(outcome) for outcome in found]
        weights = self.context.store.child("weights")
        costs = walk_costs([row for row, _ in self.history])
        for outcome, row in zip(found, rows, strict=True):
            row |= costs.get(row["seed"], {})
            row["running_train_loss"] = self._last(row["seed"], "running_train_loss")
            if self.job.stage == "confirm":
                contents = {name: value.cpu().contiguous() for name, value in outcome.weights.items()}
                weights.write(f"{self.job.trial_id}.{row['seed']}.safetensors", safetensors.torch.save(contents))
        history = [
            {
                "trial_id": self.job.trial_id,
                "seed": r.seed,
                "step": r.step,
                "epoch": r.epoch,
                "wall_s": wall_s,
                "name": r.name,
                "value": r.value,
            }
            for r, wall_s in self.history
        ]
        predictions = [
            {
                "trial_id": self.job.trial_id,
                "seed": row["seed"],
                "predictions": encode_predictions(outcome.predictions, self.training.parts.num_classes),
            }
            for outcome, row in zip(found, rows, strict=True)
            if outcome.predictions is not None
        ]
        write_trial(self.context.store, self.stem, self.context.schema(rows), rows, history, predictions)
        pause("report", self.stem)
        self.context.store.child("checkpoints").delete(f"{self.stem}.safetensors")
        return {row["seed"]: score_of(row) for row in rows}

    def _row(self, outcome: Outcome) -> dict[str, Any]:
        return outcome.row | identity_of(self.job, self.context)

    def _last(self, seed: int, name: str) -> float | None:
        values = [row.value for row, _ in self.history if row.seed == seed and row.name == name]
        return values[-1] if values else None

    def _save(self) -> None:
        state = {
            "wall_s": self.observer.wall_s,
            "crossings": self.observer.crossings,
            "history": [[*row, wall_s] for row, wall_s in self.history],
        }
        contents = safetensors.torch.save(self.training.checkpoint(), metadata={"state": json.dumps(state)})
        self.context.store.child("checkpoints").write(f"{self.stem}.safetensors", contents)
        self.saved_at = time.monotonic()

    def _restore(self) -> None:
        checkpoints = self.context.store.child("checkpoints")
        if not checkpoints.exists(f"{self.stem}.safetensors"):
            return
        contents = checkpoints.read(f"{self.stem}.safetensors")
        try:
            checkpoint = safetensors.torch.load(contents)
        except safetensors.SafetensorError:
            return  # a damaged checkpoint costs time, not truth: the members start anew
        length = int.from_bytes(contents[:8], "little")
        state = json.loads(json.loads(contents[8 : 8 + length])["__metadata__"]["state"])
        self.training.restore(checkpoint)
        self.observer.wall_s = state["wall_s"]
        self.observer.crossings = {int(seed): left for seed, left in state["crossings"].items()}
        self.history = [(HistoryRow(*row[:-1]), row[-1]) for row in state["history"]]


def identity_of(job: Job, context: RunContext) -> dict[str, Any]:
    """Return the columns that say which member of which run a row is, and which code made it."""
    return {
        "run": context.run,
        "space_hash": context.space_hash,
        "trial_id": job.trial_id,
        "stage": job.stage,
        "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        **context.provenance,
    }


def store_failure(job: Job, context: RunContext, error: Exception) -> str:
    """Store a row for every member of a job that could not be trained; return the reason in one line."""
    status = "out_of_memory" if isinstance(error, torch.OutOfMemoryError) else "failed"
    place = traceback.extract_tb(error.__traceback__)[-1]
    reason = f"{type(error).__name__}: {' '.join(str(error).split())} ({place.filename}:{place.lineno})"
    rows = [
        job.trial.columns() | identity_of(job, context) | {"seed": seed, "status": status, "error": reason}
        for seed in job.seeds
    ]
    stem = trial_stem(job.trial_id, job.stage, job.seeds)
    write_trial(context.store, stem, context.schema(), rows, [], [])
    return reason

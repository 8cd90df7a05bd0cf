"""The work of one job: train its members, measure them, and store what came out. No Ray; a worker drives it step by step."""

from __future__ import annotations

import datetime
import json
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import safetensors
import safetensors.torch
import torch

from tune_lb.data.device import Parts
from tune_lb.errors import RequestError, defined_at, one_line
from tune_lb.metrics.metric import Metric, reason_of, unmeasured
from tune_lb.observation.observer import Observer
from tune_lb.observation.outcome import Outcome, measured_values, outcomes
from tune_lb.observation.walker import walk_costs
from tune_lb.pause import pause
from tune_lb.results.columns import FINISHED
from tune_lb.results.measurements import write_measurements
from tune_lb.results.member_rows import trial_stem, write_trial
from tune_lb.results.tables import decode_table, encode_predictions
from tune_lb.search.job import Job
from tune_lb.search.score import Score, score_of
from tune_lb.training.members import HistoryRow
from tune_lb.training.phased_training import begun
from tune_lb.tuning.run_context import RunContext


class RunningJob:
    """One job in progress. Checkpoints let a killed one go on where it was; it is stored before it says that it is done.

    stored: the rows of its members, where an earlier worker stored them and died before it said so.
    """

    def __init__(self, job: Job, parts: Parts, context: RunContext) -> None:
        self.job, self.context = job, context
        self.stem = trial_stem(job.trial_id, job.stage, job.seeds)
        way = context.execution[job.arm]
        self.training = begun(job.trial, job.seeds, parts, execution=way, microbatch=context.microbatch)
        observed = {"crossings": context.crossings, "walk": context.walk, "watch": context.watch}
        self.observer = Observer(self.training, watched=job.is_watched, **observed)  # type: ignore[arg-type]
        self.history: list[tuple[HistoryRow, float]] = []
        self.saved_at = time.monotonic()
        self.stored = stored_rows(job, context)
        if not self.stored:
            self._restore()

    def advance(self, at_least_s: float) -> bool:
        """Train for at least so many seconds, in whole epochs; say whether training is done."""
        started = time.monotonic()
        if self.stored:
            return True
        while not self.training.done:
            rows = self.observer.advance()
            self.history += [(row, self.observer.wall_s) for row in rows]
            if time.monotonic() - self.saved_at > self.context.checkpoint_every_s and not self.training.done:
                self._save()
            if time.monotonic() - started >= at_least_s:
                break
        return self.training.done

    def finish(self) -> dict[int, Score]:
        """Store every member, then measure them; return their scores by seed.

        A member is stored before it is measured, so that whatever happens then, it is not trained again; its weights stay
        until it is measured, for `tune-lb measure`.
        """
        if self.stored:
            return self._finish_again()
        metrics = self.context.metrics_of(self.job.stage)
        found = outcomes(self.training, metrics=(), wall_s=self.observer.wall_s)
        rows = [self._row(outcome) for outcome in found]
        weights = self.context.store.child("weights")
        costs = walk_costs([row for row, _ in self.history])
        for outcome, row in zip(found, rows, strict=True):
            row |= costs.get(row["seed"], {})
            row["running_train_loss"] = self._last(row["seed"], "running_train_loss")
            if self.job.stage == "confirm" or metrics:
                contents = {name: value.cpu().contiguous() for name, value in outcome.weights.items()}
                weights.write(self._weights_file(row["seed"]), safetensors.torch.save(contents))
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
        write_trial(self.context.store, self.stem, self.context.schema(), rows, history, predictions)
        if metrics:
            pause("measure", self.stem)
            self._measure(metrics, [row["seed"] for row in rows])
        pause("report", self.stem)
        self.context.store.child("checkpoints").delete(f"{self.stem}.safetensors")
        return {row["seed"]: score_of(row, self.context.select_by) for row in rows}

    def _measure(self, metrics: Sequence[Metric], seeds: Sequence[int]) -> None:
        """Measure the stored members and store what is found, or why there is nothing."""
        try:
            self._write_measured(measured_values(self.training, metrics))
        except Exception as error:  # a metric that returns what no column holds: the members are trained all the same
            self._write_measured({seed: unmeasured(metrics, reason_of(error)) for seed in seeds})
        self._delete_weights(seeds)

    def _finish_again(self) -> dict[int, Score]:
        """Return the scores of members that an earlier worker stored and died while it measured them."""
        metrics = self.context.metrics_of(self.job.stage)
        seeds = [row["seed"] for row in self.stored]
        if metrics and not self.context.store.exists(f"measurements/{self.stem}.measured.parquet"):
            reason = f"the worker died while it measured (tune-lb measure {self.context.run} --again tries it again)"
            self._write_measured({seed: unmeasured(metrics, reason) for seed in seeds})
        self.context.store.child("checkpoints").delete(f"{self.stem}.safetensors")
        return {row["seed"]: score_of(row, self.context.select_by) for row in self.stored}

    def _write_measured(self, values: Mapping[int, Mapping[str, Any]]) -> None:
        rows = [{"trial_id": self.job.trial_id, "seed": seed, **row} for seed, row in values.items()]
        write_measurements(self.context.store, self.stem, self.context.metric_columns(rows), rows)

    def _delete_weights(self, seeds: Sequence[int]) -> None:
        if self.job.stage != "confirm":
            for seed in seeds:
                self.context.store.child("weights").delete(self._weights_file(seed))

    def _weights_file(self, seed: int) -> str:
        return f"{self.job.trial_id}.{seed}.safetensors"

    def _row(self, outcome: Outcome) -> dict[str, Any]:
        unobserved = self.observer.unobserved.get(outcome.row["seed"], {}) | outcome.unobserved
        lines = [f"{what}: {why}" for what, why in unobserved.items()]
        return outcome.row | {"unobserved": " | ".join(lines) or None} | identity_of(self.job, self.context)

    def _last(self, seed: int, name: str) -> float | None:
        values = [row.value for row, _ in self.history if row.seed == seed and row.name == name]
        return values[-1] if values else None

    def _save(self) -> None:
        state = {
            "wall_s": self.observer.wall_s,
            "crossings": self.observer.crossings,
            "unobserved": self.observer.unobserved,
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
        self.observer.unobserved = {int(seed): found for seed, found in state.get("unobserved", {}).items()}
        self.history = [(HistoryRow(*row[:-1]), row[-1]) for row in state["history"]]


def stored_rows(job: Job, context: RunContext) -> list[dict[str, Any]]:
    """Return the rows of a job whose members are all stored: of a worker that died, or failed, after it had stored them."""
    name = f"{trial_stem(job.trial_id, job.stage, job.seeds)}.members.parquet"
    trials = context.store.child("trials")
    try:
        rows = decode_table(trials.read(name)).to_pylist() if trials.exists(name) else []
    except RequestError:
        return []  # a damaged file: they are trained again
    done = all(row["status"] in FINISHED for row in rows) and {row["seed"] for row in rows} == set(job.seeds)
    return rows if done else []


def identity_of(job: Job, context: RunContext) -> dict[str, Any]:
    """Return the columns that say which member of which run a row is, and which code made it."""
    return {
        "run": context.run,
        "space_hash": context.space_hash,
        "trial_id": job.trial_id,
        "stage": job.stage,
        "code": context.code.get(job.arm, {}).get("fingerprint") or None,
        "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        **context.provenance,
    }


def store_failure(job: Job, context: RunContext, error: BaseException) -> str:
    """Store a row for every member of a job that could not be trained; return the reason in one line.

    Members that are stored already stay as they are: the error came after they were trained.
    """
    status = "out_of_memory" if isinstance(error, torch.OutOfMemoryError) else "failed"
    place = traceback.extract_tb(error.__traceback__)[-1]
    reason = one_line(error, defined_at(job.trial.model) or f"{place.filename}:{place.lineno}")
    if stored_rows(job, context):
        return reason
    rows = [
        job.trial.columns() | identity_of(job, context) | {"seed": seed, "status": status, "error": reason}
        for seed in job.seeds
    ]
    stem = trial_stem(job.trial_id, job.stage, job.seeds)
    write_trial(context.store, stem, context.schema(), rows, [], [])
    return reason

"""The work of one Training: its siblings, what is observed of them, and checkpoints that let a killed one go on where it was."""

from __future__ import annotations

import time
from typing import Any

import safetensors

from tune_lb.data.device import Parts
from tune_lb.observation.observer import Observer
from tune_lb.observation.outcome import Outcome, Seen, outcomes, stopped_rows
from tune_lb.observation.walker import walk_costs
from tune_lb.results.damage import set_aside
from tune_lb.results.storage import DamagedError
from tune_lb.results.tables import encode_predictions
from tune_lb.search.job import Job, Member
from tune_lb.training.members import HistoryRow
from tune_lb.training.phased_training import begun
from tune_lb.training.python_state import check_states
from tune_lb.tuning.checkpoints import decoded, encoded
from tune_lb.tuning.run_context import RunContext
from tune_lb.tuning.siblings import Siblings
from tune_lb.tuning.stopping import STOPPED_AT, look, look_columns
from tune_lb.tuning.taking import keep_weights, made_whole

OBSERVER = "observer/"
"""What the names of the observer's tensors begin with in a checkpoint."""


class RunningTraining:
    """The training of siblings in progress. way: how it trains, where that is not how members of its arm do."""

    def __init__(self, job: Job, siblings: Siblings, parts: Parts, context: RunContext, way: str | None = None) -> None:
        self.job, self.siblings, self.context = job, siblings, context
        self.checkpoints = context.store.child("checkpoints")
        self.file = f"{siblings.key}.safetensors"
        self.way, self.parts = way or context.execution[job.arm], parts
        self.saved_at = time.monotonic()
        self.stopping = context.stopping if job.stage == "search" else None
        self._begin()
        try:
            self._restore()
        # which of them depends on what is damaged in the checkpoint; that costs time, not truth: the members start anew
        except (DamagedError, safetensors.SafetensorError, LookupError, TypeError, ValueError, RuntimeError):
            set_aside(context.store, f"checkpoints/{self.file}")
            self._begin()
        if self.training.step == 0:
            self._keep_weights()

    def _begin(self) -> None:
        """Begin the training at its start."""
        context, siblings = self.context, self.siblings
        trial = made_whole(siblings.members[0], context.store, context.watch, lambda trial: self.parts)
        self.training = begun(trial, siblings.seeds, self.parts, execution=self.way, microbatch=context.microbatch)
        observed = {"crossings": context.crossings, "walk": context.walk, "watch": context.watch}
        self.observer = Observer(self.training, watched=siblings.watched, **observed)  # type: ignore[arg-type]
        self.history: list[tuple[HistoryRow, float]] = []
        self.looks: list[dict[int, Seen]] = []
        """Validation loss, error and soft error by seed, at each look that was passed."""

    @property
    def is_stopped(self) -> bool:
        """Say whether it ends at a look: its members are stopped there, or go on in another job."""
        look = self.siblings.members[0].look
        return 0 < look <= len(self.looks) and not self.training.done

    @property
    def done(self) -> bool:
        """Say whether it is trained as far as it is to be."""
        return self.training.done or self.is_stopped

    def advance(self, at_least_s: float) -> bool:
        """Train for at least so many seconds, in whole epochs; say whether training is done."""
        started = time.monotonic()
        while not self.done:
            self.keep(self.observer.advance())
            if time.monotonic() - started >= at_least_s:
                break
        return self.done

    @property
    def works(self) -> list[RunningTraining]:
        """Return itself: what trains by itself."""
        return [self]

    def keep(self, rows: list[HistoryRow]) -> None:
        """Take in what was seen, and save the training where its checkpoint is old."""
        self._keep_weights()
        self.history += [(row, self.observer.wall_s) for row in rows]
        if self.stopping is not None:
            look(self.training, self.stopping, self.looks)
        is_old = time.monotonic() - self.saved_at > self.context.checkpoint_every_s
        if self.is_stopped or (is_old and not self.training.done):
            self._save()

    def outcomes(self) -> list[tuple[Member, Outcome, dict[str, Any]]]:
        """Return every member of the finished training with its outcome and its row, before anything is measured."""
        members = {member.seed: member for member in self.siblings.members}
        if self.is_stopped:
            rows = stopped_rows(self.training, self.looks[-1], self.observer.wall_s)
            own = [Outcome(row, None, {}) for row in rows]
        else:
            own = outcomes(self.training, metrics=(), wall_s=self.observer.wall_s)
        costs = walk_costs([row for row, _ in self.history])
        found = []
        for outcome in own:
            seed = outcome.row["seed"]
            columns = self.observer.columns(seed)
            unobserved = self.observer.unobserved.get(seed, {}) | outcome.unobserved
            lines = [f"{what}: {why}" for what, why in unobserved.items()]
            row = outcome.row | {"unobserved": " | ".join(lines) or None} | costs.get(seed, {}) | columns
            if members[seed].lenders:
                row |= members[seed].trial.columns()  # as asked: which file it was is no setting
            row |= look_columns(self.looks, seed) | ({STOPPED_AT: self.training.epoch} if self.is_stopped else {})
            row["execution"] = self.context.execution[self.job.arm]
            row["running_train_loss"] = self._last(seed, "running_train_loss")
            found.append((members[seed], outcome, row))
        return found

    def history_rows(self) -> list[dict[str, Any]]:
        """Return what was observed, as rows of the history."""
        trial_id = self.siblings.members[0].trial_id
        return [
            {"trial_id": trial_id, "wall_s": wall_s, **{key: getattr(r, key) for key in r._fields}}
            for r, wall_s in self.history
        ]

    def coded(self, outcome: Outcome) -> bytes | None:
        """Return the test predictions of a member as they are stored; None for a diverged one and where none are kept."""
        if outcome.predictions is None:
            return None
        return encode_predictions(outcome.predictions, self.training.parts.num_classes)

    def forget(self) -> None:
        """Delete the checkpoint, if its members are stored and do not go on."""
        if self.is_stopped:
            return
        self.checkpoints.delete(self.file)

    def _keep_weights(self) -> None:
        """Store the weights, where they are kept now; before the checkpoint that goes on behind them."""
        if self.siblings.keeps and self.context.watch is not None:
            keep_weights(self.training, self.siblings.members[0].trial_id, self.context.watch, self.context.store)

    def _last(self, seed: int, name: str) -> float | None:
        values = [row.value for row, _ in self.history if row.seed == seed and row.name == name]
        return values[-1] if values else None

    def _save(self) -> None:
        state = {
            "wall_s": self.observer.wall_s,
            "crossings": self.observer.crossings,
            "unobserved": self.observer.unobserved,
            "path_lengths": self.observer.travel.lengths,
            "looks": [[[seed, *seen] for seed, seen in at_look.items()] for at_look in self.looks],
            "history": [[*row, wall_s] for row, wall_s in self.history],
        }
        seen = {f"{OBSERVER}{name}": value for name, value in self.observer.checkpoint().items()}
        tensors = self.training.checkpoint() | seen
        self.checkpoints.write(self.file, encoded(tensors, state))
        self.saved_at = time.monotonic()

    def _restore(self) -> None:
        if not self.checkpoints.exists(self.file):
            return
        checkpoint, state = decoded(self.checkpoints.read(self.file))
        seen = {name: checkpoint.pop(name) for name in [*checkpoint] if name.startswith(OBSERVER)}
        check_states(checkpoint)
        self.training.restore(checkpoint)
        self.observer.restore({name.removeprefix(OBSERVER): value for name, value in seen.items()})
        self.observer.wall_s = state["wall_s"]
        self.observer.crossings = {int(seed): left for seed, left in state["crossings"].items()}
        self.observer.unobserved = {int(seed): found for seed, found in state.get("unobserved", {}).items()}
        known = {int(seed): length for seed, length in state.get("path_lengths", {}).items()}
        self.observer.travel.lengths = dict.fromkeys(self.siblings.seeds) | known
        self.looks = [{int(seed): (*seen,) for seed, *seen in at_look} for at_look in state.get("looks", [])]
        self.history = [(HistoryRow(*row[:-1]), row[-1]) for row in state["history"]]

"""Metrics while a network trains: measured at the ends of chosen epochs, over chosen parts of the data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tune_lb.data.device import Examples
from tune_lb.errors import RequestError
from tune_lb.metrics.measuring import main_values, measure_all
from tune_lb.metrics.metric import prefixed
from tune_lb.metrics.names import as_metrics
from tune_lb.observation.surfaces import surface_over
from tune_lb.space.observation import Watch
from tune_lb.training.evaluation import quality, recalibrated
from tune_lb.training.members import HistoryRow, TrainedMember
from tune_lb.training.running import Running

OnFailure = Callable[[int, str, Exception], None]
"""Told of what could not be observed: seed, what, why."""


@dataclass
class Watcher:
    """Measures a training's members when the watch says so. seed: of the metrics' draws."""

    watch: Watch
    training: Running
    seed: int
    looking_s: float = field(default=0.0, init=False)

    def look(self, on_failure: OnFailure) -> list[HistoryRow]:
        """Return what is measured now, at the end of an epoch or at a step of the watch: nothing where it does not look at it."""
        epoch = math.ceil(self.training.epoch - 1e-9)
        step, plan = self.training.step, self.training.plan
        ends_epoch = step > 0 and plan.ends_epoch(step) and self.watch.looks_at(epoch)
        if not self.watch.metrics or (step not in self.watch.steps and not ends_epoch and not self.training.done):
            return []
        rows: list[HistoryRow] = []
        for member in self.training.trained():
            if member.diverged_at_step is not None:
                continue
            started = time.perf_counter()
            place = (member.seed, self.training.step, self.training.epoch)
            for split in self.watch.splits:
                try:
                    found = self._found(member, split, on_failure)
                except Exception as error:  # raised by the user's network, loss or metric
                    on_failure(member.seed, f"watch of the {split} part", error)
                    continue
                rows += [HistoryRow(*place, prefixed(name, split), value) for name, value in found.items()]
            taken = time.perf_counter() - started
            self.looking_s += taken
            rows.append(HistoryRow(*place, "watch.wall_s", taken))
        return rows

    def test_quality(self, on_failure: OnFailure) -> list[HistoryRow]:
        """Return loss and error on the test part of every member that has not diverged, where they are asked for."""
        training, rows = self.training, list[HistoryRow]()
        if not self.watch.test_error or not len(training.parts.test):
            return rows
        module, loss, part = training.evaluation_module, training.trial.example_loss, training.parts.test
        for member in training.trained():
            if member.diverged_at_step is not None:
                continue
            place = (member.seed, training.step, training.epoch)
            try:
                buffers = recalibrated(module, member.params, member.buffers, training.parts.train)
                found = quality(module, member.params, buffers, loss, part, training.trial.error)
            except Exception as error:  # raised by the user's network or loss
                on_failure(member.seed, "test loss and error", error)
                continue
            rows += [HistoryRow(*place, "test_loss", found.loss), HistoryRow(*place, "test_error", found.error)]
        return rows

    def _found(self, member: TrainedMember, split: str, on_failure: OnFailure) -> dict[str, float]:
        part: Examples = getattr(self.training.parts, split)
        if not len(part):
            return {}
        metrics = as_metrics(self.watch.metrics)
        module, loss = self.training.evaluation_module, self.training.trial.example_loss
        buffers = recalibrated(module, member.params, member.buffers, self.training.parts.train)
        with surface_over(module, (member.params, buffers), loss, part, split=split) as surface:
            row = measure_all(metrics, surface, self.seed)
        for metric in metrics:
            if row.get(f"{metric.name}.reason"):
                why = RequestError(str(row[f"{metric.name}.reason"]))
                on_failure(member.seed, f"watch of {prefixed(metric.name, split)}", why)
        return {name: value for metric in metrics for name, value in main_values(metric, row).items()}

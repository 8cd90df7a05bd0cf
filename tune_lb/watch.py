"""Metrics while a network trains: measured at the ends of chosen epochs, over chosen parts of the data."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tune_lb.catalog import as_metrics
from tune_lb.data.device import Examples
from tune_lb.errors import RequestError
from tune_lb.evaluation import recalibrated
from tune_lb.metric import main_values, measure_all, prefixed
from tune_lb.phased import Running
from tune_lb.setting import Settings, setting
from tune_lb.surface import LossSurface
from tune_lb.training import HistoryRow

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Watch(Settings):
    """What is measured at the ends of chosen epochs and at the end of training, of the members that are looked at.

    Rows of the history: the main values of each metric under their names, as lambda_max; over another part than train
    with the part before it, as test_lambda_max; and watch.wall_s, the time that the look took, not in wall_s. Batch-norm
    statistics are recomputed over the train set before, and all looks use the same random draws. The training is not
    changed by it. Sources of such figures: Keskar et al., 2017, figure 6; Hynes, figures 3 and 4 (the test set in
    batches of 500: batch_lambda_max); Xing et al., 2018, figures 3 and 6.

    metrics: names or instances. every_epochs: from one look to the next. epochs: the epochs to look at, counted from 1,
    in place of every_epochs. splits: parts of the data.
    """

    metrics: tuple[Any, ...] = setting(("lambda_max",), "what is measured: names or instances of metrics")
    every_epochs: int = setting(1, "epochs from one look to the next", low=1)
    epochs: tuple[int, ...] = setting((), "epochs to look at, counted from 1, in place of every_epochs")
    splits: tuple[str, ...] = setting(("train",), "parts of the data: train, validation, test")

    def problems(self, where: str = "") -> list[str]:
        """Also refuse metrics and parts that there are not, and epochs that are no counts."""
        found, place = super().problems(where), where or "Watch"
        if found:
            return found
        try:
            as_metrics(self.metrics)
        except RequestError as error:
            found += [f"{place}.metrics: {problem}" for problem in error.problems]
        if not self.splits or len(set(self.splits)) < len(self.splits) or not set(self.splits) <= set(SPLITS):
            found.append(f"{place}.splits = {self.splits}: one or more of {', '.join(SPLITS)}, each once")
        if not all(isinstance(e, int) and not isinstance(e, bool) and e >= 1 for e in self.epochs):
            found.append(f"{place}.epochs = {self.epochs}: epochs are counted from 1, as in (1, 10, 20)")
        if self.epochs and self.every_epochs != 1:
            found.append(f"{place}: every_epochs = {self.every_epochs} and epochs = {self.epochs}: give one of them")
        return found

    def looks_at(self, epoch: int) -> bool:
        """Say whether the end of an epoch, counted from 1, is looked at."""
        return epoch in self.epochs if self.epochs else epoch % self.every_epochs == 0


@dataclass
class Watcher:
    """Measures a training's members when the watch says so. seed: of the metrics' draws."""

    watch: Watch
    training: Running
    seed: int
    looking_s: float = field(default=0.0, init=False)

    def look(self) -> list[HistoryRow]:
        """Return what is measured now, at the end of an epoch: nothing where the watch does not look at it."""
        epoch = math.ceil(self.training.epoch - 1e-9)
        if not self.watch.looks_at(epoch) and not self.training.done:
            return []
        rows: list[HistoryRow] = []
        for member in self.training.trained():
            if member.diverged_at_step is not None:
                continue
            started = time.perf_counter()
            place = (member.seed, self.training.step, self.training.epoch)
            buffers = recalibrated(
                self.training.evaluation_module, member.params, member.buffers, self.training.parts.train
            )
            for split in self.watch.splits:
                found = self._found(member.params, buffers, split)
                rows += [HistoryRow(*place, prefixed(name, split), value) for name, value in found.items()]
            taken = time.perf_counter() - started
            self.looking_s += taken
            rows.append(HistoryRow(*place, "watch.wall_s", taken))
        return rows

    def _found(self, params: Mapping[str, Any], buffers: Mapping[str, Any], split: str) -> dict[str, float]:
        part: Examples = getattr(self.training.parts, split)
        if not len(part.targets):
            return {}
        metrics = as_metrics(self.watch.metrics)
        with LossSurface(
            self.training.evaluation_module,
            params,
            buffers,
            self.training.trial.loss,
            part.inputs,
            part.targets,
            transform=part.standardized_values,
            split=split,
        ) as surface:
            row = measure_all(metrics, surface, self.seed)
        return {name: value for metric in metrics for name, value in main_values(metric, row).items()}

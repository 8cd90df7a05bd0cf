"""Smoke runs: every arm of a space for two updates on a cut of the data, so that its whole path is seen before it is paid for."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tune_lb.budgets import Updates
from tune_lb.data.dataset import DataSet, DataSource
from tune_lb.errors import RequestError
from tune_lb.settings.domain import Choice, Interval
from tune_lb.settings.taken import TakesFromArm
from tune_lb.space.arm import Arm
from tune_lb.space.observation import Walk, Watch
from tune_lb.space.space import Space
from tune_lb.training.part_lists import remedies_of
from tune_lb.training.phase import Phase
from tune_lb.training.remedy import Remedy

UPDATES = 2
EXAMPLES = 64
"""Examples that are trained on at least, validated and tested on."""
LOOKED_AT = 8
"""Examples that metrics and a walk's losses are taken over at most."""
FEW = {"max_samples": LOOKED_AT, "max_hvps": 4, "max_evaluations": 6, "max_iterations": 2}
"""What a metric looks at and does at most, by the name of its setting."""
FEW_POINTS = 1
"""Points between two iterates at which a walk takes the loss at most."""
LARGEST_BATCH = 256
"""Larger batches are cut to about it; smaller ones stay."""

PROCEDURE: dict[str, Any] = {
    "members_per_arm": None,
    "num_samples": 1,
    "candidates": 1,
    "decide_blocks": 1,
    "confirm_blocks": 1,
    "block_seeds": 1,
    "measured_blocks": 1,
    "watched_blocks": 1,
    "stopping": None,
}


@dataclass(frozen=True)
class FirstExamples(DataSource):
    """The first examples of each part of another data set."""

    is_excerpt: ClassVar[bool] = True

    source: DataSource
    num_train: int
    num_others: int

    def load(self, split_seed: int) -> DataSet:
        """Return the cut parts. Raises RequestError as the other data set does."""
        whole = self.source.load(split_seed)
        parts = {"train": self.num_train, "validation": self.num_others, "test": self.num_others}
        return dataclasses.replace(whole, **{name: getattr(whole, name).first(n) for name, n in parts.items()})

    def has_own_test_split(self) -> bool:
        """Say what the other data set says."""
        return self.source.has_own_test_split()

    def can_be_cut(self) -> bool:
        """Say what the other data set says."""
        return self.source.can_be_cut()

    def located(self) -> Self:
        """Return the same examples of the other data set as it is found from anywhere on this machine."""
        return dataclasses.replace(self, source=self.source.located())


def smoke(space: Space) -> Space:
    """Return the space with one member an arm and stage, two updates each, on few examples; networks are whole.

    Batches above LARGEST_BATCH are cut, to what ghost groups and pieces still divide, budgets become two updates, phases one
    update of theirs, and whatever is measured looks at LOOKED_AT examples.
    """
    given = [arm.settings.get("batch_size", space.batch_size) for arm in space.arms]
    pieces = {value for arm in space.arms for remedy in _remedies(arm) for value in _whole_numbers(remedy)}
    num_train = max(EXAMPLES, *(_most(_cut(size, pieces)) for size in given if size is not None))
    walk, watch = space.walk, space.watch
    changes: dict[str, Any] = PROCEDURE | {
        "question": f"A smoke run, whose numbers say nothing: {space.question}",
        "data": FirstExamples(space.data, num_train, EXAMPLES),
        "arms": tuple(_smoked(arm, num_train, pieces) for arm in space.arms),
        "budget": Updates(UPDATES),
        "batch_size": _cut(space.batch_size, pieces),
        "phases": _phases(space.phases, num_train, pieces),
        "metrics": tuple(map(_on_few, space.metrics)),
        "walk": walk and _walked(walk),
        "watch": watch and _watched(watch),
        "initialization": _at_start(space.initialization),
    }
    return dataclasses.replace(space, **changes)


def _smoked(arm: Arm, num_train: int, pieces: Collection[int]) -> Arm:
    settings: Mapping[str, Any] = arm.settings
    own = dict(settings)
    if "data" in own:
        own["data"] = FirstExamples(own["data"], num_train, EXAMPLES)
    if "budget" in own:
        own["budget"] = Updates(UPDATES)
    if "batch_size" in own:
        own["batch_size"] = _cut(own["batch_size"], pieces)
    if "initialization" in own:
        own["initialization"] = _at_start(own["initialization"])
    if "phases" in own:
        own["phases"] = _phases(own["phases"], num_train, pieces)
    return Arm(arm.name, *arm.remedies, combines=arm.combines, **own)


def _walked(walk: Walk) -> Walk:
    """Return a walk over the first epoch, if over any, with few losses between iterates, each of few examples."""
    few = LOOKED_AT if walk.max_samples is None else min(walk.max_samples, LOOKED_AT)
    return dataclasses.replace(
        walk, epochs=(1,) if walk.epochs else (), points=min(walk.points, FEW_POINTS), max_samples=few
    )


def _watched(watch: Watch) -> Watch:
    """Return a watch of few examples; weights that it keeps are those of the start, the one epoch that every training has."""
    kept = watch.keep_weights and (0,)
    return dataclasses.replace(watch, metrics=tuple(map(_on_few, watch.metrics)), keep_weights=kept)


def _at_start(initialization: Any) -> Any:
    return initialization.at_start() if isinstance(initialization, TakesFromArm) else initialization


def _cut(size: Any, pieces: Collection[int]) -> Any:
    """Return a batch size, or a domain of them, of at most LARGEST_BATCH where the pieces that divide it divide what is left."""
    if isinstance(size, Choice):
        return dataclasses.replace(size, values=tuple(dict.fromkeys(_cut(value, pieces) for value in size.values)))
    if isinstance(size, Interval):
        return dataclasses.replace(size, low=min(size.low, LARGEST_BATCH), high=min(size.high, LARGEST_BATCH))
    if size is None or size <= LARGEST_BATCH:
        return size
    whole = math.lcm(*(piece for piece in pieces if size % piece == 0))
    return LARGEST_BATCH // whole * whole or size


def _remedies(arm: Arm) -> Iterator[Remedy]:
    """Yield the remedies of an arm, those of lists among them."""
    for entry in arm.remedies:
        for value in entry.values if isinstance(entry, Choice) else (entry,):
            yield from remedies_of(value)


def _whole_numbers(remedy: Any) -> Iterator[int]:
    """Yield the whole numbers above 1 that a remedy's settings are or can be: sizes of groups and pieces are among them."""
    for field in dataclasses.fields(remedy):
        value = getattr(remedy, field.name)
        for each in value.values if isinstance(value, Choice) else (value,):
            if isinstance(each, int) and each > 1:
                yield each


def _most(size: Any) -> int:
    return int(max(size.to_check())) if isinstance(size, Choice | Interval) else int(size)


def _phases(phases: tuple[Phase, ...], num_train: int, pieces: Collection[int]) -> tuple[Phase, ...]:
    """Return phases of one update each."""
    found = []
    for phase in phases:
        size = _cut(phase.batch_size, pieces)
        epochs = (size or LARGEST_BATCH) / num_train
        found.append(dataclasses.replace(phase, batch_size=size, epochs=min(phase.epochs, epochs)))
    return tuple(found)


def _on_few(metric: Any) -> Any:
    """Return a metric on few examples and with few products; names and metrics that have no say in that are as they are."""
    if not dataclasses.is_dataclass(metric) or isinstance(metric, type):
        return metric
    fields = {field.name for field in dataclasses.fields(metric)}
    found: Any = metric
    for name in FEW.keys() & fields:
        given = getattr(found, name)
        # one that needs more keeps what it has
        with contextlib.suppress(RequestError):
            found = dataclasses.replace(found, **{name: FEW[name] if given is None else min(given, FEW[name])})
    # a metric under other circumstances holds that metric
    return dataclasses.replace(found, metric=_on_few(found.metric)) if "metric" in fields else found

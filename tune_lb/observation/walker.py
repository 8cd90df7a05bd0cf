"""The walk: what the loss does between one iterate and the next, and where the iterates go."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from tune_lb.observation.surfaces import surface_over
from tune_lb.space.observation import Walk
from tune_lb.surface.derivatives import flat
from tune_lb.training.evaluation import recalibrated
from tune_lb.training.gradient import Buffers, Params
from tune_lb.training.members import HistoryRow
from tune_lb.training.running import Running

WALK_COLUMNS = {
    "walk.evaluations": "losses over the whole train set taken to observe the walk; not part of the training's cost",
    "walk.gradients": "gradient evaluations made again to observe the walk; not part of the training's cost",
    "walk.wall_s": "time taken to observe the walk, the member's share, s; not in wall_s",
}


class Valley(NamedTuple):
    """What the losses along one update say; see Walk."""

    floor: float | None
    height: float
    barrier: float


def valley(losses: list[float]) -> Valley:
    """Return floor, height and barrier of the losses at w_t, between, and at w_(t+1)."""
    first, *between, last = losses
    floor = min(between)
    barrier = max(0.0, max(between) - max(first, last))
    return Valley(floor if floor < min(first, last) else None, (first + last) / 2 - min(losses), barrier)


@dataclass
class _Trail:
    """What is remembered of one member from one update to the next."""

    start: Tensor
    epoch_start: Tensor
    loss: float | None = None
    gradient: Tensor | None = None
    path_length: float = 0.0


@dataclass
class _Iterate:
    """A member's own weights, before anything is made of them for evaluation."""

    params: Params
    buffers: Buffers
    names: list[str]
    """The trainable ones."""
    point: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.point = _vector(self.params, self.names)


class Walker:
    """Advances a training as Training.advance does, and observes the walk. The training is what it would be without.

    looking_s: time spent observing so far. on_failure: told of what the user's network or loss raised while it was observed.
    """

    def __init__(
        self, walk: Walk, training: Running, on_failure: Callable[[int, str, Exception], None] | None = None
    ) -> None:
        self.walk, self.training, self.on_failure = walk, training, on_failure
        self.looking_s = 0.0
        self._starts: dict[int, Tensor] = {}

    def advance(self, epochs: float = 1.0) -> list[HistoryRow]:
        """Train to the next multiple of so many epochs, one update at a time where the epoch is watched."""
        started = time.perf_counter()
        training = self.training
        iterates = self._iterates()
        trails = {seed: _Trail(self._start(seed, at), at.point) for seed, at in iterates.items()}
        rows: list[HistoryRow] = []
        seen: list[HistoryRow] = []
        training_s = 0.0
        if self._is_watched():
            end = training.next_stop(epochs)
            while training.step < end and not training.done:
                gradients = self._gradients(iterates)
                before_s = time.perf_counter()
                rows += training.advance(1e-9)
                training_s += time.perf_counter() - before_s
                after = self._iterates()
                for seed in sorted(after.keys() & gradients.keys()):
                    gradient = _vector(gradients[seed], after[seed].names)
                    try:
                        seen += self._observed(seed, trails[seed], iterates[seed], after[seed], gradient)
                    except Exception as error:  # raised by the user's network or loss: it costs these rows only
                        self._failed(seed, error)
                        trails[seed].loss = trails[seed].gradient = None
                iterates = after
            rows = self._joined(rows)
        else:
            before_s = time.perf_counter()
            rows = training.advance(epochs)
            training_s = time.perf_counter() - before_s
            iterates = self._iterates()
        for seed, at in iterates.items():
            trail = trails[seed]
            seen.append(self._row(seed, "walk.epoch_distance", float((at.point - trail.epoch_start).norm())))
            if trail.loss is None:
                seen.append(self._row(seed, "walk.distance", float((at.point - trail.start).norm())))
        spent = time.perf_counter() - started - training_s
        self.looking_s += spent
        return rows + seen + self._costs(seen, spent)

    def _gradients(self, iterates: Mapping[int, _Iterate]) -> dict[int, Params]:
        try:
            return self.training.gradients()
        except (
            Exception
        ) as error:  # raised by the user's network or loss; the update itself will say so, if it does too
            for seed in iterates:
                self._failed(seed, error)
            return {}

    def _failed(self, seed: int, error: Exception) -> None:
        if self.on_failure is None:
            raise error
        self.on_failure(seed, "walk", error)

    def _is_watched(self) -> bool:
        boundaries, step = self.training.plan.boundaries, self.training.step
        number = boundaries[min(step, len(boundaries) - 2)] // self.training.plan.num_train + 1
        return number in self.walk.epochs

    def _observed(
        self, seed: int, trail: _Trail, before: _Iterate, after: _Iterate, gradient: Tensor
    ) -> list[HistoryRow]:
        first = self._loss(before, before, 0.0) if trail.loss is None else trail.loss
        shares = [i / (self.walk.points + 1) for i in range(1, self.walk.points + 2)]
        losses = [first, *(self._loss(before, after, share) for share in shares)]
        found = valley(losses) if all(map(math.isfinite, losses)) else Valley(None, math.nan, math.nan)
        length = float((after.point - before.point).norm())
        values: dict[str, float | None] = {
            "loss": losses[-1],
            "floor": found.floor,
            "height": found.height,
            "barrier": found.barrier,
            "cosine": None if trail.gradient is None else cosine(trail.gradient, gradient),
            "distance": float((after.point - trail.start).norm()),
            "step_length": length,
            "path_length": trail.path_length + length,
        }
        trail.loss, trail.gradient, trail.path_length = losses[-1], gradient, trail.path_length + length
        # a member on its way to divergence has weights, and no loss there
        found_values = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        return [self._row(seed, f"walk.{name}", value) for name, value in found_values.items()]

    def _loss(self, before: _Iterate, after: _Iterate, share: float) -> float:
        """Return the train loss at before + share (after - before), exactly `after` at share 1."""
        training, train = self.training, self.training.parts.train
        params = after.params
        if share < 1:
            params = {name: torch.lerp(value, after.params[name], share) for name, value in before.params.items()}
        buffers = recalibrated(training.evaluation_module, params, after.buffers, train)
        pair = (params, buffers)
        return surface_over(training.evaluation_module, pair, training.trial.example_loss, train).value()

    def _iterates(self) -> dict[int, _Iterate]:
        training = self.training
        names = [name for name, _ in training.evaluation_module.named_parameters()]
        found = {}
        ended = {seed for group in training.groups for seed in (*group.diverged_at, *group.stopped_at)}
        for seed, (trainable, buffers) in training.iterates().items():
            if seed not in ended:
                values = trainable | buffers
                params = {name: values.pop(name) for name in names}
                at = _Iterate(params, values, list(trainable))
                if at.point.isfinite().all():
                    found[seed] = at
        return found

    def _start(self, seed: int, at: _Iterate) -> Tensor:
        if seed not in self._starts:
            self._starts[seed] = _vector(self.training.initial(seed), at.names)
        return self._starts[seed]

    def _row(self, seed: int, name: str, value: float) -> HistoryRow:
        return HistoryRow(seed, self.training.step, self.training.epoch, name, value)

    def _joined(self, rows: list[HistoryRow]) -> list[HistoryRow]:
        """Return one row in place of those of every update: the mean loss, the last rate, of members that have not diverged."""
        by_name: dict[tuple[int, str], list[HistoryRow]] = {}
        for row in rows:
            by_name.setdefault((row.seed, row.name), []).append(row)
        diverged = {seed for group in self.training.groups for seed in group.diverged_at}
        joined = []
        for (seed, name), found in by_name.items():
            if seed not in diverged:
                values = torch.tensor([row.value for row in found], dtype=torch.float64)
                value = float(values.mean()) if name == "running_train_loss" else found[-1].value
                joined.append(found[-1]._replace(value=value))
        return joined

    def _costs(self, seen: list[HistoryRow], spent: float) -> list[HistoryRow]:
        seeds = sorted({row.seed for row in seen})
        rows = []
        for seed in seeds:
            updates = sum(row.seed == seed and row.name == "walk.loss" for row in seen)
            losses = updates * (self.walk.points + 1) + (updates > 0)
            costs = {"evaluations": losses, "gradients": updates, "wall_s": spent / len(seeds)}
            rows += [self._row(seed, f"walk.{name}", float(value)) for name, value in costs.items()]
        return rows


def walk_costs(rows: list[HistoryRow]) -> Mapping[int, dict[str, float | int]]:
    """Return by seed what observing cost in all, under the names of WALK_COLUMNS."""
    found: dict[int, dict[str, float | int]] = {}
    for row in rows:
        if row.name in WALK_COLUMNS:
            own = found.setdefault(row.seed, {})
            value = row.value if row.name.endswith("_s") else int(row.value)
            own[row.name] = own.get(row.name, 0) + value
    return found


def cosine(a: Tensor, b: Tensor) -> float | None:
    """Return the cosine of the angle between two vectors; None where one is 0."""
    a, b = a.double(), b.double()
    lengths = float(a.norm() * b.norm())
    return float(a @ b) / lengths if lengths else None


def _vector(tree: Params, names: list[str]) -> Tensor:
    """Return the named tensors as one float64 vector."""
    return flat([tree[name].double() for name in names])

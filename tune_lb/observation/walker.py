"""The walk: what the loss does between one iterate and the next, and where the iterates go."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tune_lb.observation.stepping import advanced, joined
from tune_lb.observation.walk_losses import Iterate, WalkLosses, valley, vector
from tune_lb.space.observation import Walk
from tune_lb.training.gradient import Params
from tune_lb.training.members import HistoryRow
from tune_lb.training.noiseless import Noiseless
from tune_lb.training.running import Running

WALK_COLUMNS = {
    "walk.evaluations": "losses over the train set (or max_samples of it) taken to observe the walk; not part of training's cost",
    "walk.gradients": "gradient evaluations made again to observe the walk; not part of the training's cost",
    "walk.wall_s": "time taken to observe the walk, the member's share, s; not in wall_s",
}


@dataclass
class _Trail:
    """What is remembered of one member from one update to the next. step: at which that was."""

    start: Tensor
    epoch_start: Tensor
    step: int
    loss: float | None = None
    gradient: Tensor | None = None
    clean: Tensor | None = None
    path_length: float = 0.0
    threshold: float | None = None
    """Rise above which a point counts as a barrier, in this epoch."""
    updates: int = 0
    barriers: int = 0


class Walker:
    """Advances a training as Training.advance does, and observes the walk. The training is what it would be without.

    looking_s: time spent observing so far. on_failure: told of what the user's network or loss raised while it was observed.
    """

    def __init__(
        self, walk: Walk, training: Running, on_failure: Callable[[int, str, Exception], None] | None = None
    ) -> None:
        self.walk, self.training, self.on_failure = walk, training, on_failure
        self.looking_s = 0.0
        self.losses = WalkLosses(walk, training)
        self.noiseless = Noiseless()
        self.has_noise = any(remedy.adds_noise for remedy in training.trial.active)
        self._starts: dict[int, Tensor] = {}
        self._trails: dict[int, _Trail] = {}

    def advance(
        self, epochs: float = 1.0, stops: Collection[int] = (), at_stop: Callable[[], None] = lambda: None
    ) -> list[HistoryRow]:
        """Train to the next multiple of so many epochs, one update at a time where the epoch is watched.

        at_stop is called after the updates `stops`, as by `advanced`.
        """
        started = time.perf_counter()
        training, first = self.training, self.training.step
        iterates = self._iterates()
        trails = {seed: self._trail(seed, at) for seed, at in iterates.items()}
        rows: list[HistoryRow] = []
        seen: list[HistoryRow] = []
        training_s = 0.0
        if self._is_watched():
            end = training.next_stop(epochs)
            while training.step < end and not training.done:
                gradients = self._vectors(iterates)
                before_s = time.perf_counter()
                rows += training.advance(1e-9)
                if training.step in stops and training.step < end:
                    at_stop()
                training_s += time.perf_counter() - before_s
                after = self._iterates()
                for seed in sorted(after.keys() & gradients.keys()):
                    try:
                        seen += self._observed(seed, trails[seed], iterates[seed], after[seed], *gradients[seed])
                    except Exception as error:  # raised by the user's network or loss: it costs these rows only
                        self._failed(seed, error)
                        trails[seed].loss = trails[seed].gradient = trails[seed].clean = None
                    trails[seed].step = training.step
                iterates = after
            rows = joined(training, rows, first)
        else:
            before_s = time.perf_counter()
            rows, kept_s = self._to_the_end(epochs, stops, at_stop, trails)
            training_s = time.perf_counter() - before_s - kept_s
            iterates = self._iterates()
        for seed, at in iterates.items():
            trail = trails[seed]
            seen.append(self._row(seed, "walk.epoch_distance", float((at.point - trail.epoch_start).norm())))
            if not trail.updates:
                seen.append(self._row(seed, "walk.distance", float((at.point - trail.start).norm())))
            elif self.walk.points:
                seen.append(self._row(seed, "walk.barriers", float(trail.barriers)))
        self._trails = trails
        spent = time.perf_counter() - started - training_s
        self.looking_s += spent
        return rows + seen + self._costs(seen, spent)

    def _to_the_end(
        self, epochs: float, stops: Collection[int], at_stop: Callable[[], None], trails: Mapping[int, _Trail]
    ) -> tuple[list[HistoryRow], float]:
        """Train through an epoch that is not watched; of the last update before one that is, keep the gradient. Also its time."""
        training, kept_s = self.training, 0.0
        last = training.next_stop(epochs) - 1
        if not self._is_watched(last + 1):
            return advanced(training, epochs, stops, at_stop), kept_s

        def at() -> None:
            nonlocal kept_s
            if training.step == last:
                started = time.perf_counter()
                self._keep_gradients(trails)
                kept_s += time.perf_counter() - started
            if training.step in stops:
                at_stop()

        if training.step == last:
            at()
        return advanced(training, epochs, {*stops, last}, at), kept_s

    def _keep_gradients(self, trails: Mapping[int, _Trail]) -> None:
        """Keep the gradients of the next update, with which the one after it is compared."""
        for seed, gradients in self._vectors(self._iterates()).items():
            trail = trails[seed]
            trail.gradient, trail.clean = gradients
            # its loss is that of the epoch's start
            trail.step, trail.loss = self.training.step + 1, None

    def checkpoint(self) -> dict[str, Tensor]:
        """Return what the first update of the next epoch is compared with, where that is watched as the last one was."""
        found: dict[str, Tensor] = {}
        if self.training.done or not self._is_watched():
            return found
        for seed, trail in self._trails.items():
            if trail.gradient is not None and trail.step == self.training.step:
                of_step = {"gradient": trail.gradient, "clean": trail.clean}
                # float64 of what was the training's type: nothing is lost
                found |= {f"{seed}/{k}": v.to(self.training.dtype) for k, v in of_step.items() if v is not None}
                if trail.loss is not None:
                    found[f"{seed}/loss"] = torch.tensor(trail.loss, dtype=torch.float64)
        return found

    def restore(self, checkpoint: Mapping[str, Tensor]) -> None:
        """Go on from what checkpoint returned, the training's being restored."""
        nowhere = torch.empty(0)
        for seed in {int(name.partition("/")[0]) for name in checkpoint}:
            gradient, clean, loss = (checkpoint.get(f"{seed}/{name}") for name in ("gradient", "clean", "loss"))
            trail = _Trail(nowhere, nowhere, self.training.step, updates=1)
            trail.gradient, trail.clean = (
                None if value is None else value.to(self.training.device).double() for value in (gradient, clean)
            )
            trail.loss = None if loss is None else float(loss)
            self._trails[seed] = trail

    def _trail(self, seed: int, at: Iterate) -> _Trail:
        """Return what is known of a member as an epoch begins: the last gradient and loss, where the update before was watched."""
        trail = _Trail(self._start(seed, at), at.point, self.training.step)
        last = self._trails.get(seed)
        if last is not None and last.step == self.training.step:
            trail.loss, trail.gradient, trail.clean = last.loss, last.gradient, last.clean
        return trail

    def _vectors(self, iterates: Mapping[int, Iterate]) -> dict[int, tuple[Tensor, Tensor | None]]:
        """Return by seed the gradient of the next update and the one without noise, as vectors; None where no remedy adds any."""
        found, clean = (self._gradients(iterates, noise=noise) for noise in (True, False))
        return {
            seed: (vector(found[seed], at.names), vector(clean[seed], at.names) if seed in clean else None)
            for seed, at in iterates.items()
            if seed in found
        }

    def _gradients(self, iterates: Mapping[int, Iterate], *, noise: bool) -> dict[int, Params]:
        """Return by seed the gradient of the next update; without noise: nothing where no remedy adds any."""
        if not noise and not self.has_noise:
            return {}
        try:
            return self.training.gradients(None if noise else self.noiseless)
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

    def _is_watched(self, step: int | None = None) -> bool:
        boundaries = self.training.plan.boundaries
        step = self.training.step if step is None else step
        number = boundaries[min(step, len(boundaries) - 2)] // self.training.plan.num_train + 1
        return number in self.walk.epochs

    def _observed(
        self, seed: int, trail: _Trail, before: Iterate, after: Iterate, gradient: Tensor | None, clean: Tensor | None
    ) -> list[HistoryRow]:
        length = float((after.point - before.point).norm())
        values: dict[str, float | None] = {
            "cosine": _cosine(trail.gradient, gradient),
            "clean_cosine": _cosine(trail.clean, clean),
            "distance": float((after.point - trail.start).norm()),
            "step_length": length,
            "path_length": trail.path_length + length,
        }
        rows = []
        if self.walk.points:
            is_first = trail.loss is None
            losses = self.losses.along(before, after, trail.loss)
            # the step at which the epoch begins has a loss too, and no update before it that could tell it
            if is_first and math.isfinite(losses[0]):
                rows.append(
                    self._row(seed, "walk.loss", losses[0])._replace(step=trail.step, epoch=self._epoch(trail.step))
                )
            values |= self._valley(trail, before, after, losses)
            trail.loss = losses[-1]
        trail.gradient, trail.clean, trail.path_length = gradient, clean, trail.path_length + length
        trail.updates += 1
        # a member on its way to divergence has weights, and no loss there
        found = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        return rows + [self._row(seed, f"walk.{name}", value) for name, value in found.items()]

    def _valley(self, trail: _Trail, before: Iterate, after: Iterate, losses: list[float]) -> dict[str, float | None]:
        if not all(map(math.isfinite, losses)):
            return {"loss": losses[-1]}
        values: dict[str, float | None] = {f"loss_{i}": value for i, value in enumerate(losses[1:-1], 1)}
        if trail.threshold is None:
            trail.threshold = self.walk.barrier_above
        if trail.threshold is None:
            values["rounding"] = trail.threshold = self.losses.rounding(before, after, losses)
        found = valley(losses)
        is_barrier = found.barrier > trail.threshold
        trail.barriers += is_barrier
        more = {"floor": found.floor, "height": found.height, "barrier": found.barrier, "is_barrier": float(is_barrier)}
        return {"loss": losses[-1], **values, **more}

    def _epoch(self, step: int) -> float:
        return self.training.plan.boundaries[step] / self.training.plan.num_train

    def _iterates(self) -> dict[int, Iterate]:
        training = self.training
        names = [name for name, _ in training.evaluation_module.named_parameters()]
        found = {}
        ended = {seed for group in training.groups for seed in (*group.diverged_at, *group.stopped_at)}
        for seed, (trainable, buffers) in training.iterates().items():
            if seed not in ended:
                values = trainable | buffers
                params = {name: values.pop(name) for name in names}
                at = Iterate(params, values, list(trainable))
                if at.point.isfinite().all():
                    found[seed] = at
        return found

    def _start(self, seed: int, at: Iterate) -> Tensor:
        if seed not in self._starts:
            self._starts[seed] = vector(self.training.initial(seed), at.names)
        return self._starts[seed]

    def _row(self, seed: int, name: str, value: float) -> HistoryRow:
        return HistoryRow(seed, self.training.step, self.training.epoch, name, value)

    def _costs(self, seen: list[HistoryRow], spent: float) -> list[HistoryRow]:
        seeds = sorted({row.seed for row in seen})
        rows = []
        for seed in seeds:
            names = [row.name for row in seen if row.seed == seed]
            updates = names.count("walk.step_length")
            own, exact = names.count("walk.loss"), names.count("walk.rounding") * (self.training.dtype != torch.float64)
            losses = own + names.count("walk.height") * self.walk.points + exact * (self.walk.points + 2)
            updates *= 1 + self.has_noise
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


def _cosine(a: Tensor | None, b: Tensor | None) -> float | None:
    return None if a is None or b is None else cosine(a, b)


def cosine(a: Tensor, b: Tensor) -> float | None:
    """Return the cosine of the angle between two vectors; None where one is 0."""
    a, b = a.double(), b.double()
    lengths = float(a.norm() * b.norm())
    return float(a @ b) / lengths if lengths else None

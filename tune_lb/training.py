"""Training: members in, history and trained members out. No Ray, no files."""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tune_lb.data.dataset import DataSet, Part
from tune_lb.evaluation import Examples, quality, recalibrated
from tune_lb.gradient import Batch, Buffers, Differentiate, GradientFn, Params, by_autograd, by_functorch, mean_gradient
from tune_lb.pause import pause
from tune_lb.remedy import BatchFn, State
from tune_lb.streams import generator, seed_of
from tune_lb.trial import Trial

EXECUTIONS = ("alone", "together")


class Parts(NamedTuple):
    """A data set on the device."""

    train: Examples
    validation: Examples
    test: Examples
    num_classes: int
    input_shape: tuple[int, ...]


class HistoryRow(NamedTuple):
    """One observed quantity of one member."""

    seed: int
    step: int
    epoch: float
    name: str
    value: float


@dataclass
class TrainedMember:
    """What is left of one training run: weights and buffers as they were at its end."""

    seed: int
    params: Params
    buffers: Buffers
    diverged_at_step: int | None


@dataclass
class Members:
    """Members of one trial that one program trains: a single one, or several stacked along a leading dimension."""

    seeds: list[int]
    params: Params
    buffers: Buffers
    states: dict[str, State]
    optimizer: torch.optim.Optimizer
    step: int = 0
    losses: list[Tensor] = field(default_factory=list)
    """Losses since the last report, one tensor per step."""
    diverged_at: dict[int, int] = field(default_factory=dict)


class Training:
    """The training of a trial's members, to be advanced epoch by epoch and stopped, saved or continued between epochs.

    execution "alone" trains each member by itself, "together" stacks them (`torch.func.vmap`); random draws depend on (seed,
    purpose, step) only, so both give the same trajectory up to rounding.
    """

    def __init__(
        self,
        trial: Trial,
        seeds: Sequence[int],
        parts: Parts,
        *,
        execution: str = "alone",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.trial, self.parts, self.execution, self.dtype = trial, parts, execution, dtype
        self.plan = trial.plan(len(parts.train.targets))
        self.remedies = trial.active
        self.device = parts.train.inputs.device
        self.values = {name: torch.tensor(value, dtype=dtype, device=self.device) for name, value in trial.values().items()}
        self.rate = trial.rate(self.plan)
        self.evaluation_module = trial.model(parts.input_shape, parts.num_classes).to(self.device, dtype).eval()
        self.num_parameters = sum(p.numel() for p in self.evaluation_module.parameters() if p.requires_grad)
        self._orders: dict[int, dict[int, Tensor]] = {seed: {} for seed in seeds}
        self.gradient = self._gradient()
        groups = [[seed] for seed in seeds] if execution == "alone" else [list(seeds)]
        self.groups = [self._start(group) for group in groups]

    @property
    def step(self) -> int:
        """Return the updates done."""
        return self.groups[0].step

    @property
    def epoch(self) -> float:
        """Return the passes over the train set done."""
        return self.plan.boundaries[self.step] / self.plan.num_train

    @property
    def done(self) -> bool:
        """Say whether the budget is spent, or every member has diverged."""
        return self.step >= self.plan.num_updates or all(len(g.diverged_at) == len(g.seeds) for g in self.groups)

    def advance(self, epochs: float = 1.0) -> list[HistoryRow]:
        """Train every member for about so many epochs (at least one update) and return what was observed."""
        examples = (math.floor(self.epoch + 1e-9) + epochs) * self.plan.num_train
        end = bisect.bisect_right(self.plan.boundaries, examples + 1e-6) - 1
        end = min(max(end, self.step + 1), self.plan.num_updates)
        rows: list[HistoryRow] = []
        for group in self.groups:
            while group.step < end and len(group.diverged_at) < len(group.seeds):
                self._update(group)
                pause("step")
            group.step = end
            rows += self._report(group)
        return rows

    def trained(self) -> Iterator[TrainedMember]:
        """Yield every member with the parameters to be evaluated."""
        for group in self.groups:
            params = group.params
            for remedy in self.remedies:
                params = remedy.evaluated(params, group.states[remedy.module_name()])
            for position, seed in enumerate(group.seeds):
                pick: Callable[[Tensor], Tensor] = (
                    (lambda value, i=position: value[i]) if self.execution == "together" else (lambda value: value)
                )
                values = {name: pick(value).detach().clone() for name, value in (params | group.buffers).items()}
                names = [name for name, _ in self.evaluation_module.named_parameters()]
                yield TrainedMember(
                    seed,
                    {name: values.pop(name) for name in names},
                    values,
                    group.diverged_at.get(seed),
                )

    def evaluate(self) -> list[HistoryRow]:
        """Return clean train and validation loss and error of every member that has not diverged, now."""
        rows: list[HistoryRow] = []
        module, loss = self.evaluation_module, self.trial.loss
        for member in self.trained():
            if member.diverged_at_step is not None:
                continue
            buffers = recalibrated(module, member.params, member.buffers, self.parts.train)
            for name in ("train", "validation"):
                part: Examples = getattr(self.parts, name)
                if len(part.targets):
                    found = quality(module, member.params, buffers, loss, part)
                    rows.append(HistoryRow(member.seed, self.step, self.epoch, f"{name}_loss", found.loss))
                    rows.append(HistoryRow(member.seed, self.step, self.epoch, f"{name}_error", found.error))
        return rows

    def _gradient(self) -> GradientFn:
        module = copy.deepcopy(self.evaluation_module).train()
        loss = self.trial.loss
        for remedy in self.remedies:
            module, loss = remedy.model(module), remedy.loss(loss)
        differentiate: Differentiate = by_functorch if self.execution == "together" else by_autograd
        gradient = mean_gradient(module, loss, differentiate)
        change: BatchFn = _unchanged
        for remedy in self.remedies:
            gradient, change = remedy.gradient(gradient), remedy.batch(change)

        # the batch is changed once per step, outside every gradient: both passes of SAM see the same
        def of_changed_batch(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            return gradient(params, buffers, change(batch))

        return of_changed_batch

    def _start(self, seeds: list[int]) -> Members:
        starts = [self._initial(seed) for seed in seeds]
        stacked = self.execution == "together"
        params, buffers = (
            {name: torch.stack([s[i][name] for s in starts]) if stacked else starts[0][i][name] for name in starts[0][i]}
            for i in (0, 1)
        )
        states = {}
        for remedy in self.remedies:
            initial = [remedy.initial_state(start[0]) for start in starts]
            states[remedy.module_name()] = (
                {name: torch.stack([state[name] for state in initial]) for name in initial[0]} if stacked else initial[0]
            )
        optimizer = self.trial.optimizer.build(params.values(), self.trial.learning_rate)
        return Members(seeds, params, buffers, states, optimizer)

    def _initial(self, seed: int) -> tuple[Params, Buffers]:
        # modules initialise themselves from the global generator: fork it, so that nobody else's draws change
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.trial.draws, seed, "initialization"))
            module = self.trial.model(self.parts.input_shape, self.parts.num_classes)
        module = module.to(self.device, self.dtype)
        params = {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}
        frozen = {name: value.detach() for name, value in module.named_parameters() if not value.requires_grad}
        return params, dict(module.named_buffers()) | frozen

    def _update(self, group: Members) -> None:
        position = self.plan.position(group.step)
        rate = self.rate(position)
        batches = [self._batch(seed, group.step) for seed in group.seeds]
        if self.execution == "together":
            batch = Batch(
                torch.stack([b.inputs for b in batches]),
                torch.stack([b.targets for b in batches]),
                batches[0].step,
                {name: torch.stack([b.draws[name] for b in batches]) for name in batches[0].draws},
                self.values,
            )
            per_member = Batch(0, 0, None, 0, None)  # type: ignore[arg-type]
            gradient = torch.func.vmap(self.gradient, in_dims=(0, 0, per_member))
        else:
            batch, gradient = batches[0], self.gradient

        def step(params: Params, buffers: Buffers, batch: Batch, rate: float) -> tuple[Tensor, Buffers]:
            loss, gradients, updated = gradient(params, buffers, batch)
            update(params, gradients, rate)
            return loss, updated

        def update(params: Params, gradients: Params, rate: float) -> None:
            for options in group.optimizer.param_groups:
                options["lr"] = rate
            for name, value in params.items():
                value.grad = gradients[name]
            group.optimizer.step()

        for remedy in self.remedies:
            update = remedy.update(update)
        for remedy in self.remedies:
            step = remedy.step(step)
        loss, group.buffers = step(group.params, group.buffers, batch, rate)
        for remedy in self.remedies:
            name = remedy.module_name()
            group.states[name] = remedy.after_step(group.states[name], group.params, batch)
        group.losses.append(loss)
        group.step += 1

    def _batch(self, seed: int, step: int) -> Batch:
        index = self._order(seed, self.plan.boundaries[step], self.plan.boundaries[step + 1])
        inputs = self.parts.train.standardized(index).to(self.dtype)
        draws = {}
        for remedy in self.remedies:
            stream = generator(self.trial.draws, seed, remedy.module_name(), step, device=self.device)
            drawn = remedy.draws(stream, len(index), self.num_parameters, inputs)
            if drawn is not None:
                draws[remedy.module_name()] = drawn
        targets = self.parts.train.targets[index]
        return Batch(inputs, targets, torch.tensor(step, device=self.device), draws, self.values)

    def _order(self, seed: int, start: int, stop: int) -> Tensor:
        """Return the examples start .. stop of the stream of concatenated permutations of the train set."""
        n = self.plan.num_train
        epochs = range(start // n, (stop - 1) // n + 1)
        orders = {epoch: order for epoch, order in self._orders[seed].items() if epoch in epochs}
        for epoch in epochs:
            if epoch not in orders:
                stream = generator(self.trial.draws, seed, "order", epoch)
                orders[epoch] = torch.randperm(n, generator=stream).to(self.device)
        self._orders[seed] = orders
        pieces = [orders[epoch][max(start - epoch * n, 0) : stop - epoch * n] for epoch in epochs]
        return torch.cat(pieces)

    def _report(self, group: Members) -> list[HistoryRow]:
        if not group.losses:
            return []
        first = group.step - len(group.losses)
        losses = torch.stack(group.losses).reshape(len(group.losses), -1).double().cpu()
        group.losses = []
        rows = []
        rate = self.rate(self.plan.position(group.step - 1))
        for position, seed in enumerate(group.seeds):
            bad = (~torch.isfinite(losses[:, position])).nonzero()
            if len(bad) and seed not in group.diverged_at:
                group.diverged_at[seed] = first + int(bad[0])
            if seed not in group.diverged_at:
                rows.append(HistoryRow(seed, group.step, self.epoch, "running_train_loss", float(losses[:, position].mean())))
                rows.append(HistoryRow(seed, group.step, self.epoch, "lr", rate))
        return rows


def _unchanged(batch: Batch) -> Batch:
    return batch


def on_device(data: DataSet, device: torch.device | str) -> Parts:
    """Return the data set as tensors on a device; on the CPU they share memory with its arrays."""

    def move(part: Part) -> Examples:
        inputs, targets = (torch.from_numpy(array) if array.flags.writeable else torch.tensor(array) for array in part)
        return Examples(inputs.to(device), targets.to(device), data.offset, data.scale)

    return Parts(move(data.train), move(data.validation), move(data.test), data.num_classes, data.input_shape)

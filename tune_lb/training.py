"""Training: members in, history and trained members out. No Ray, no files."""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tune_lb.batches import BatchStream
from tune_lb.data.device import Examples, Parts
from tune_lb.evaluation import quality, recalibrated
from tune_lb.gradient import (
    MEMBERS_FIRST,
    Batch,
    Buffers,
    Differentiate,
    GradientFn,
    Params,
    by_autograd,
    by_functorch,
    mean_gradient,
    on_targets,
    over_members,
    stack,
    stacked_batch,
)
from tune_lb.members import Members, TrainedMember
from tune_lb.pause import pause
from tune_lb.remedy import BatchFn, StepFn, UpdateFn, overrides
from tune_lb.streams import seed_of
from tune_lb.trial import Trial

EXECUTIONS = ("alone", "together")


class HistoryRow(NamedTuple):
    """One observed quantity of one member."""

    seed: int
    step: int
    epoch: float
    name: str
    value: float


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
        self.values = {
            name: torch.tensor(value, dtype=dtype, device=self.device)
            for name, value in (trial.values() | self.plan.values()).items()
        }
        self.rate = trial.rate(self.plan)
        self.evaluation_module = self._network("evaluation").eval()
        self.num_parameters = sum(p.numel() for p in self.evaluation_module.parameters() if p.requires_grad)
        self.batches = BatchStream(trial, self.plan, parts.train, self.num_parameters, self.values, dtype)
        own_update = any(overrides(remedy, "update") or overrides(remedy, "step") for remedy in self.remedies)
        self.stacked = execution == "together" or own_update
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
        """Train every member to the next multiple of so many epochs (at least one update) and return what was observed."""
        boundaries, unit = self.plan.boundaries, epochs * self.plan.num_train
        following = boundaries[min(self.step + 1, self.plan.num_updates)]
        end = bisect.bisect_right(boundaries, math.ceil(following / unit - 1e-9) * unit + 1e-6) - 1
        rows: list[HistoryRow] = []
        for group in self.groups:
            while group.step < end and len(group.diverged_at) < len(group.seeds):
                self._update(group)
                pause("step", f"step {group.step} of {self.plan.num_updates}")
            group.step = end
            rows += self._report(group)
        return rows

    def trained(self) -> Iterator[TrainedMember]:
        """Yield every member with the parameters to be evaluated."""
        for group in self.groups:
            params = group.params
            others: dict[str, Params] = {}
            for remedy in self.remedies:
                if overrides(remedy, "evaluated"):
                    of_one, other = remedy.evaluated, remedy.alternatives
                    evaluated = torch.func.vmap(of_one) if self.stacked else of_one
                    alternatives = torch.func.vmap(other) if self.stacked else other
                    state = group.states[remedy.module_name()]
                    others |= alternatives(params, state) if overrides(remedy, "alternatives") else {}
                    params = evaluated(params, state)
            for position, seed in enumerate(group.seeds):
                values = {
                    name: (value[position] if self.stacked else value).detach().clone()
                    for name, value in (params | group.buffers).items()
                }
                names = [name for name, _ in self.evaluation_module.named_parameters()]
                yield TrainedMember(
                    seed,
                    {name: values.pop(name) for name in names},
                    values,
                    group.diverged_at.get(seed),
                    {
                        key: {
                            name: (value[position] if self.stacked else value).detach().clone()
                            for name, value in tree.items()
                        }
                        for key, tree in others.items()
                    },
                )

    def evaluate(self) -> list[HistoryRow]:
        """Return clean train and validation loss and error of every member that has not diverged, now."""
        rows: list[HistoryRow] = []
        module, loss = self.evaluation_module, self.trial.loss
        for member in self.trained():
            if member.diverged_at_step is not None:
                continue
            for mark, params in {"": member.params, **{f"@{k}": v for k, v in member.alternatives.items()}}.items():
                buffers = recalibrated(module, params, member.buffers, self.parts.train)
                for name in ("train", "validation"):
                    part: Examples = getattr(self.parts, name)
                    if len(part.targets):
                        found = quality(module, params, buffers, loss, part)
                        rows.append(HistoryRow(member.seed, self.step, self.epoch, f"{name}_loss{mark}", found.loss))
                        rows.append(HistoryRow(member.seed, self.step, self.epoch, f"{name}_error{mark}", found.error))
        return rows

    def snapshot(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on, as named tensors; call it between two calls of advance."""
        return {f"{i}/{name}": value for i, group in enumerate(self.groups) for name, value in group.snapshot().items()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Go on from a snapshot of a training of the same trial, seeds and execution."""
        for i, group in enumerate(self.groups):
            group.restore({k.removeprefix(f"{i}/"): value for k, value in snapshot.items() if k.startswith(f"{i}/")})

    def _gradient(self) -> GradientFn:
        module = copy.deepcopy(self.evaluation_module).train()
        loss = on_targets(self.trial.loss)
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

        if not self.stacked:
            return of_changed_batch
        return over_members(of_changed_batch, vectorize=self.execution == "together")

    def _start(self, seeds: list[int]) -> Members:
        starts = [self._initial(seed) for seed in seeds]
        together: Callable[[list[dict[str, Tensor]]], dict[str, Tensor]] = (
            stack if self.stacked else (lambda trees: trees[0])
        )
        params, buffers = together([start[0] for start in starts]), together([start[1] for start in starts])
        states = {
            remedy.module_name(): together([remedy.initial_state(start[0]) for start in starts])
            for remedy in self.remedies
        }
        optimizer = self.trial.optimizer.build(
            params.values(), self.trial.learning_rate, members_first=self.stacked
        )
        return Members(seeds, params, buffers, states, optimizer)

    def _initial(self, seed: int) -> tuple[Params, Buffers]:
        module = self._network(seed, "initialization")
        params = {name: value.detach() for name, value in module.named_parameters() if value.requires_grad}
        frozen = {name: value.detach() for name, value in module.named_parameters() if not value.requires_grad}
        return params, dict(module.named_buffers()) | frozen

    def _network(self, *purpose: object) -> nn.Module:
        # modules initialise themselves from the CPU's global generator: fork it, so that nobody else's draws change
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(self.trial.draws, *purpose))
            module = self.trial.network(self.parts.input_shape, self.parts.num_classes)
        return module.to(self.device, self.dtype)

    def _update(self, group: Members) -> None:
        position = self.plan.position(group.step)
        rate = self.rate(position)
        batches = [self.batches.batch(seed, group.step) for seed in group.seeds]
        batch = stacked_batch(batches) if self.stacked else batches[0]
        batch = batch._replace(due={r.module_name(): r.due(position) for r in self.remedies if overrides(r, "due")})

        def gradient_and_update(params: Params, buffers: Buffers, batch: Batch, rate: float) -> tuple[Tensor, Buffers]:
            loss, gradients, updated = self.gradient(params, buffers, batch)
            update(params, gradients, rate)
            return loss, updated

        def optimizer_step(params: Params, gradients: Params, rate: float) -> None:
            for options in group.optimizer.param_groups:
                options["lr"] = rate
            for name, value in params.items():
                value.grad = gradients[name]
            group.optimizer.step()

        update: UpdateFn = optimizer_step
        for remedy in self.remedies:
            update = remedy.update(update)
        step: StepFn = gradient_and_update
        for remedy in self.remedies:
            step = remedy.step(step)
        owners = [remedy.module_name() for remedy in self.remedies if overrides(remedy, "gradient")]
        states = {f"{owner}/{name}": value for owner in owners for name, value in group.states[owner].items()}
        loss, buffers = step(group.params, group.buffers | states, batch, rate)
        group.buffers = {name: value for name, value in buffers.items() if name not in states}
        for owner in owners:
            group.states[owner] = {name: buffers[f"{owner}/{name}"] for name in group.states[owner]}
        for remedy in self.remedies:
            if overrides(remedy, "after_step") and remedy.due(position):
                name, of_one = remedy.module_name(), remedy.after_step
                after_step = torch.func.vmap(of_one, in_dims=(0, 0, MEMBERS_FIRST)) if self.stacked else of_one
                group.states[name] = after_step(group.states[name], group.params, batch)
        group.losses.append(loss)
        group.step += 1

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
                rows.append(
                    HistoryRow(seed, group.step, self.epoch, "running_train_loss", float(losses[:, position].mean()))
                )
                rows.append(HistoryRow(seed, group.step, self.epoch, "lr", rate))
        return rows


def _unchanged(batch: Batch) -> Batch:
    return batch

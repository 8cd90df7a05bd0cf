"""Training: members in, history and trained members out. No Ray, no files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from tune_lb.arithmetic import float32
from tune_lb.data.device import Examples, Parts
from tune_lb.optimizers.building import built, options_of
from tune_lb.pause import pause
from tune_lb.schedules import Position
from tune_lb.streams import global_state, seeded
from tune_lb.training.batch_stream import BatchStream
from tune_lb.training.compiled_step import CompiledStep, compiled_step, program_key
from tune_lb.training.divergence import first_divergence
from tune_lb.training.evaluation import quality, recalibrated
from tune_lb.training.gradient import DROPOUT_KEY, MEMBERS_FIRST, Batch, Buffers, GradientFn, Params, only, stack
from tune_lb.training.habits import habits_of, laid_out
from tune_lb.training.members import HistoryRow, Members, TrainedMember, part_of
from tune_lb.training.networks import Networks, Start, tensors
from tune_lb.training.remedy import Remedy, State, overrides
from tune_lb.training.step import composed_gradient, composed_step
from tune_lb.training.trained_members import one_member, trained_members
from tune_lb.training.trial import Trial
from tune_lb.trees import leaves


class Training:
    """The training of a trial's members, to be advanced epoch by epoch and stopped, saved or continued between epochs.

    microbatch: examples that go through the network at a time (see microbatch_size); None: the whole batch.
    execution "alone" trains each member by itself, "together" stacks them (`torch.func.vmap`); random draws depend on (seed,
    purpose, step) only, so both give the same trajectory up to rounding.
    starts: by seed the parameters and buffers to begin with, where not those that the seed draws.
    """

    def __init__(
        self,
        trial: Trial,
        seeds: Sequence[int],
        parts: Parts,
        *,
        execution: str = "alone",
        dtype: torch.dtype = torch.float32,
        microbatch: int | None = None,
        starts: Mapping[int, tuple[Params, Buffers]] | None = None,
    ) -> None:
        self.trial, self.parts, self.execution, self.dtype = trial, parts, execution, dtype
        self.plan = trial.plan(len(parts.train))
        self.remedies = trial.active
        self.device = parts.train.device
        self.values = {
            name: torch.tensor(value, dtype=dtype, device=self.device)
            for name, value in (trial.values() | self.plan.values()).items()
        }
        self.rate = trial.rate(self.plan)
        self.networks = Networks(trial, parts, dtype, starts, carries_state=execution == "plain")
        self.habits = habits_of(trial)
        self.evaluation_module = self.networks.fresh("evaluation").eval()
        self.num_parameters = sum(p.numel() for p in self.evaluation_module.parameters() if p.requires_grad)
        dropout = any(name.endswith(DROPOUT_KEY) for name, _ in self.evaluation_module.named_buffers())
        keys = dropout or self.habits.draws
        self.batches = BatchStream(trial, self.plan, parts.train, self.num_parameters, self.values, dtype, keys=keys)
        if trial.budget.watches_loss and execution.endswith("together"):
            raise ValueError("a budget that watches the loss ends each member by itself: train its members alone")
        own_update = any(overrides(remedy, "update") or overrides(remedy, "step") for remedy in self.remedies)
        self.stacked = execution.endswith("together") or own_update
        groups = [list(seeds)] if execution.endswith("together") else [[seed] for seed in seeds]
        self.microbatch = microbatch
        self.gradient = None if execution == "plain" else self._composed(self.networks.fresh("training"))
        self.origin: Mapping[str, Tensor] | None = None
        self.groups = [self.begin(group) for group in groups]
        self.program = self._program() if execution.startswith("compiled") else None

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
        """Say whether the budget is spent, or every member has ended before."""
        return self.step >= self.plan.num_updates or all(group.ended for group in self.groups)

    def advance(self, epochs: float = 1.0) -> list[HistoryRow]:
        """Train every member to the next multiple of so many epochs (at least one update) and return what was observed."""
        end = self.next_stop(epochs)
        rows: list[HistoryRow] = []
        for group in self.groups:
            start = group.step
            while self._surprised(group, end):
                self._again(group, start)
            rows += self.report(group)
            group.step = end
        return rows

    def next_stop(self, epochs: float = 1.0) -> int:
        """Return the step at which advance(epochs) stops."""
        return self.plan.next_stop(self.step, epochs)

    def gradients(self, of: Callable[[Training], GradientFn] | None = None) -> dict[int, Params]:
        """Return by seed what each next update is given as its gradient (or what `of` says); nothing changes. Cost: an update's."""
        found: dict[int, Params] = {}
        for group in self.groups:
            if not group.ended:
                _, batch, states = self._next(group)
                # copies: a network may set its own weights in a forward pass
                params = {name: value.clone() for name, value in group.params.items()}
                with float32(tf32=self.trial.precision == "tf32"):
                    _, gradients, _ = (of(self) if of else group.gradient)(params, group.buffers | states, batch)
                found |= {
                    seed: one_member(gradients, i, self.stacked, self.remedies) for i, seed in enumerate(group.seeds)
                }
        return found

    def initial(self, seed: int) -> Params:
        """Return the trainable parameters that a member begins with, made anew."""
        return tensors(self.networks.of_seed(seed))[0]

    def iterates(self) -> dict[int, tuple[Params, Buffers]]:
        """Return by seed the parameters and buffers as they are, before anything is made of them for evaluation."""
        return {
            seed: (one_member(group.params, i, self.stacked, self.remedies), one_member(group.buffers, i, self.stacked))
            for group in self.groups
            for i, seed in enumerate(group.seeds)
        }

    def trained(self) -> Iterator[TrainedMember]:
        """Yield every member with the parameters to be evaluated."""
        names = [name for name, _ in self.evaluation_module.named_parameters()]
        for group in self.groups:
            yield from trained_members(group, self.remedies, names, stacked=self.stacked)

    def evaluate(self) -> list[HistoryRow]:
        """Return clean train and validation loss and error of every member that has not diverged, now."""
        rows: list[HistoryRow] = []
        module, loss = self.evaluation_module, self.trial.example_loss
        for member in self.trained():
            if member.diverged_at_step is not None:
                continue
            for mark, params in {"": member.params, **{f"@{k}": v for k, v in member.alternatives.items()}}.items():
                buffers = recalibrated(module, params, member.buffers, self.parts.train)
                for name in ("train", "validation"):
                    part: Examples = getattr(self.parts, name)
                    if len(part):
                        found = quality(module, params, buffers, loss, part, self.trial.error)
                        rows.append(HistoryRow(member.seed, self.step, self.epoch, f"{name}_loss{mark}", found.loss))
                        rows.append(HistoryRow(member.seed, self.step, self.epoch, f"{name}_error{mark}", found.error))
        return rows

    def checkpoint(self) -> dict[str, Tensor]:
        """Return everything that the next step depends on, as named tensors; call it between two calls of advance."""
        return {
            f"{i}/{name}": value for i, group in enumerate(self.groups) for name, value in group.checkpoint().items()
        }

    def restore(self, checkpoint: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint of a training of the same trial, seeds and execution."""
        self.origin = checkpoint
        for i, group in enumerate(self.groups):
            group.restore(part_of(i, checkpoint))

    def _program(self) -> CompiledStep:
        group, parts, batch_size = self.groups[0], self.parts, self.plan.position(0).batch_size
        facts = (len(group.seeds), batch_size, self.microbatch, parts.input_shape, parts.num_classes)
        more = (self.device, self.dtype, *options_of(self.trial.optimizer, group.optimizer))
        key = program_key(self.trial, self.execution, *facts, *more)
        return compiled_step(key, lambda: CompiledStep(self.trial, group, members_first=self.stacked))

    @contextmanager
    def _running(self, group: Members) -> Iterator[None]:
        """Let the compiled step, where there is one, work on its own tensors in place of the group's."""
        if self.program is None or group.ended:
            yield
            return
        params, step = group.params, group.run
        self.program.load(params, group.optimizer)
        group.params, group.run = self.program.params, self.program
        try:
            yield
        finally:
            group.params, group.run = params, step
            group.buffers = self.program.released(group.buffers)
            group.states = {name: self.program.released(state) for name, state in group.states.items()}
            self.program.store(params, group.optimizer)

    def begin(self, seeds: list[int]) -> Members:
        """Return members about to make their first step."""
        starts = [self.networks.start(seed) for seed in seeds]
        like = starts[0][0]  # as the network has them
        for remedy in self.remedies:
            starts = [(remedy.replicated(params, self.trial.batch_size), buffers) for params, buffers in starts]
        together = stack if self.stacked else only
        params, buffers = together([start[0] for start in starts]), together([start[1] for start in starts])
        if self.execution == "alone" and not self.stacked:
            params = laid_out(params, self.habits, self.networks, self.microbatch or self.trial.batch_size)
        states = {
            remedy.name: together([self._initial_state(remedy, *pair) for pair in zip(seeds, starts, strict=True)])
            for remedy in self.remedies
        }
        optimizer = built(self.trial.optimizer, params, self.trial.learning_rate, members_first=self.stacked, like=like)
        gradient = self.gradient or self._composed(self.networks.of_seed(seeds[0]))
        run = composed_step(gradient, self.remedies, optimizer)
        return Members(seeds, params, buffers, states, optimizer, gradient, run)

    def _initial_state(self, remedy: Remedy, seed: int, start: Start) -> State:
        with seeded(self.trial.draws, seed, remedy.name, "start"):
            return remedy.initial_state(start[0])

    def _composed(self, module: nn.Module) -> GradientFn:
        return composed_gradient(self.trial, module, self.execution, stacked=self.stacked, microbatch=self.microbatch)

    def _next(self, group: Members) -> tuple[Position, Batch, dict[str, Tensor]]:
        """Return position and batch of the next update, and the states that gradient hooks read, among the buffers."""
        position = self.plan.position(group.step)
        seeds, step, habits = group.seeds, group.step, self.habits
        self.batches.keys = self.batches.keys or habits.draws
        batch = self.batches.of_members(seeds, step) if self.stacked else self.batches.batch(seeds[0], step)
        due = {r.name: r.due(position) for r in self.remedies if overrides(r, "due")}
        batch = batch._replace(due=due, is_seeded=habits.draws, is_written=habits.writes)
        owners = [remedy.name for remedy in self.remedies if overrides(remedy, "gradient")]
        return position, batch, {f"{o}/{name}": value for o in owners for name, value in group.states[o].items()}

    def _surprised(self, group: Members, end: int) -> bool:
        """Train to a step; say whether the network did what it was not known to do, so that this must be done again."""
        before, known = global_state(), dataclasses.replace(self.habits)
        with float32(tf32=self.trial.precision == "tf32"), self._running(group):
            while group.step < end and not group.ended:
                self._update(group)
                pause("step", f"step {group.step} of {self.plan.num_updates}")
        moved = before.moved(global_state())
        if moved:
            before.put_back()
        if moved and self.execution not in ("alone", "plain"):
            raise RuntimeError(f"the network draws from {' and '.join(moved)}, so its members are trained alone")
        self.habits.draws = self.habits.draws or bool(moved)
        return self.habits != known

    def _again(self, group: Members, start: int) -> None:
        """Bring members back to the step at which they were, trained anew from their start or from what was restored."""
        fresh = self.begin(group.seeds)
        if self.origin is not None:
            number = self.groups.index(group)
            fresh.restore(part_of(number, self.origin))
        for name in ("params", "buffers", "states", "optimizer", "gradient", "run", "step"):
            setattr(group, name, getattr(fresh, name))
        group.losses = []
        if self._surprised(group, start):
            raise RuntimeError("the network does something else each time it is run")
        group.losses = []

    def _update(self, group: Members) -> None:
        position, batch, states = self._next(group)
        given = leaves(batch.inputs)
        versions = [leaf._version for leaf in given]
        seed = (self.trial.draws, group.seeds[0], "global", group.step)
        with seeded(*seed) if self.habits.draws else nullcontext():
            self._step(group, position, batch, states)
        self.habits.writes = self.habits.writes or versions != [leaf._version for leaf in given]

    def _step(self, group: Members, position: Position, batch: Batch, states: dict[str, Tensor]) -> None:
        loss, buffers = group.run(group.params, group.buffers | states, batch, self.rate(position))
        group.buffers = {name: value for name, value in buffers.items() if name not in states}
        for owner in {name.partition("/")[0] for name in states}:
            group.states[owner] = {name: buffers[f"{owner}/{name}"] for name in group.states[owner]}
        for remedy in self.remedies:
            if overrides(remedy, "after_step") and remedy.due(position):
                name, of_one = remedy.name, remedy.after_step
                after_step = torch.func.vmap(of_one, in_dims=(0, 0, MEMBERS_FIRST)) if self.stacked else of_one
                group.states[name] = after_step(group.states[name], group.params, batch)
        group.losses.append(loss)
        group.step += 1

    def report(self, group: Members) -> list[HistoryRow]:
        """Return what the losses since the last report say, and note which members they end."""
        if not group.losses:
            return []
        first = group.step - len(group.losses)
        losses = torch.stack(group.losses).reshape(len(group.losses), -1).double().cpu()
        group.losses = []
        rows = []
        rate = self.rate(self.plan.position(group.step - 1))
        for position, seed in enumerate(group.seeds):
            diverged = first_divergence(losses[:, position])
            if diverged is not None and seed not in group.diverged_at:
                group.diverged_at[seed] = first + diverged
            if seed not in group.diverged_at:
                rows.append(
                    HistoryRow(seed, group.step, self.epoch, "running_train_loss", float(losses[:, position].mean()))
                )
                rows.append(HistoryRow(seed, group.step, self.epoch, "lr", rate))
        if self.trial.budget.watches_loss and not group.ended:
            group.open_epoch += losses[:, 0].tolist()
            if self.plan.ends_epoch(group.step):
                group.epoch_losses.append(math.fsum(group.open_epoch) / len(group.open_epoch))
                group.open_epoch = []
                if self.trial.budget.stops(group.epoch_losses):
                    group.stopped_at[group.seeds[0]] = group.step
        return rows

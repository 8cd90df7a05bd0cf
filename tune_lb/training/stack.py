"""Stacks: members of several trainings that differ in numbers, seeds and data alone, trained as one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tune_lb.arithmetic import float32
from tune_lb.optimizers.of_members import MemberOptimizer
from tune_lb.pause import pause
from tune_lb.streams import global_state
from tune_lb.training.compiled_stack import compiled_stack
from tune_lb.training.gradient import MEMBERS_OF_MANY, Batch, Buffers, Params
from tune_lb.training.members import HistoryRow, Members
from tune_lb.training.remedy import overrides
from tune_lb.training.stacked_batches import StackedBatches
from tune_lb.training.step import composed_gradient, with_update
from tune_lb.training.training import Training

Rows = int | slice
"""A member's place in the stack: a number, or a slice of one where its own tensors have a leading dimension too."""


class Stack:
    """Several trainings (execution "alone") of equal `stack_key`, advanced together: one gradient and update for all members.

    A member is what it is alone, up to rounding: batches, draws, rates, settings of optimiser and remedies are its own. Between two
    calls of advance each training can be looked at, evaluated and saved by itself: its tensors are views of the stack's. Only
    the stack may advance it from then on; it is restored before. A member that ends (diverges, or a budget ends it) leaves
    the stack at the end of the call in which it does, and the others go on.
    compiled: the members of a compiled program (CompiledStack), None for none. At least half as many are filled up to it with
    copies of the first, which nobody sees; fewer, and what cannot be compiled, are advanced eagerly, the same up to rounding.
    Cost: the memory of all members; every tensor is copied once where members are put together or one leaves.
    """

    def __init__(self, trainings: Sequence[Training], compiled: int | None = None) -> None:
        self.trainings, self.compiled = list(trainings), compiled
        first = trainings[0]
        module = first.networks.fresh("training")
        self.gradient = composed_gradient(
            first.trial, module, "together", stacked=True, microbatch=first.microbatch, many=True
        )
        self._join()

    @property
    def done(self) -> bool:
        """Say whether every training is."""
        return all(training.done for training in self.trainings)

    def advance(self, epochs: float = 1.0) -> list[list[HistoryRow]]:
        """Train every member to the next multiple of so many epochs, at least one update; return what each training observed."""
        going = [training for training in self.trainings if not training.done]
        end = going[0].next_stop(epochs)
        with float32(tf32=going[0].trial.precision == "tf32"):
            self._train(going[0].step, end)
        for group in (group for training in going for group in training.groups):
            group.step = end
        rows = [[row for group in training.groups for row in training.report(group)] for training in self.trainings]
        if any(group.ended for _, group in self.members):
            self._leave()
            self._join()
        return rows

    def _join(self) -> None:
        """Put the members that have not ended into common tensors."""
        self.members = [(t, group) for t in self.trainings for group in t.groups if not group.ended]
        if not self.members:
            return
        first = self.members[0][0]
        self.program, number = None, len(self.members)
        if self.compiled is not None and number <= self.compiled <= 2 * number:
            self.program = compiled_stack(first, self.compiled)
        copies = self.compiled - number if self.program is not None and self.compiled is not None else 0
        self.filled = self.members + copies * self.members[:1]
        self.rows: list[Rows] = [slice(i, i + 1) if t.stacked else i for i, (t, _) in enumerate(self.filled)]
        join = torch.cat if first.stacked else torch.stack
        groups = [group for _, group in self.filled]
        self.params = _joined([group.params for group in groups], join)
        self.buffers = _joined([group.buffers for group in groups], join)
        self.states = {name: _joined([group.states[name] for group in groups], join) for name in groups[0].states}
        trained = dict(first.evaluation_module.named_parameters())
        settings = [t.trial.optimizer for t, _ in self.filled]
        self.optimizer = MemberOptimizer(settings, self.params, {name: trained[name] for name in self.params})
        for rows, group in zip(self.rows, groups, strict=True):
            self.optimizer.load(rows, group.optimizer, group.params)
        self.batches = StackedBatches([(t.batches, group.seeds[0]) for t, group in self.filled])
        self.values = _joined([t.values for t, _ in self.filled], torch.stack)
        self.run = with_update(self.gradient, first.remedies, self._move)  # type: ignore[arg-type]
        self._share_out()

    def _share_out(self) -> None:
        """Let every member's tensors be its part of the stack's."""
        for rows, (_, group) in zip(self.rows, self.members, strict=False):
            _take(group, {name: value[rows] for name, value in self.params.items()})
            group.buffers = {name: value[rows] for name, value in self.buffers.items()}
            group.states = {
                name: {key: value[rows] for key, value in state.items()} for name, state in self.states.items()
            }
            self.optimizer.store(rows, group.optimizer, group.params)

    def _leave(self) -> None:
        """Give members that have ended tensors of their own, so that the stack's can go."""
        for _, group in self.members:
            if group.ended:
                _take(group, {name: value.clone() for name, value in group.params.items()})
                group.buffers = {name: value.clone() for name, value in group.buffers.items()}
                group.states = {
                    name: {key: value.clone() for key, value in state.items()} for name, state in group.states.items()
                }

    def _move(self, params: Params, gradients: Params, rates: Tensor) -> None:
        # the optimiser was made over these very parameters
        with torch.no_grad():
            self.optimizer.step(gradients, rates)

    def _train(self, start: int, end: int) -> None:
        """Train to a step."""
        before, plan = global_state(), self.members[0][0].plan
        rates = {id(t): [t.rate(plan.position(step)) for step in range(start, end)] for t in self.trainings}
        of_members = torch.tensor([rates[id(t)] for t, _ in self.filled], dtype=torch.float64)
        losses: list[Tensor] = []
        for step in range(start, end):
            losses.append(self._update(step, of_members[:, step - start]))
            pause("step", f"step {step + 1} of {plan.num_updates}")
        moved = before.moved(global_state())
        if moved:
            before.put_back()
            raise RuntimeError(f"the network draws from {' and '.join(moved)}, so its members are trained alone")
        self._share_out()
        by_member = torch.stack(losses).unbind(1)
        for (_, group), own in zip(self.members, by_member, strict=False):
            group.losses = list(own.unbind())

    def _update(self, step: int, rates: Tensor) -> Tensor:
        """Make an update of all members and return their losses, (members,)."""
        first = self.members[0][0]
        position = first.plan.position(step)
        # inputs are copied for the network: one that writes into its own would spoil, and torch.func refuse, those of the step
        due = {remedy.name: remedy.due(position) for remedy in first.remedies if overrides(remedy, "due")}
        batch = self.batches.batch(step)._replace(due=due, is_written=True, values=self.values)
        owners = [remedy.name for remedy in first.remedies if overrides(remedy, "gradient")]
        states = {f"{o}/{name}": value for o in owners for name, value in self.states[o].items()}
        loss, buffers = self._made(self.buffers | states, batch, rates)
        self.buffers = {name: value for name, value in buffers.items() if name not in states}
        for owner in {name.partition("/")[0] for name in states}:
            self.states[owner] = {name: buffers[f"{owner}/{name}"] for name in self.states[owner]}
        for number, remedy in enumerate(first.remedies):
            if overrides(remedy, "after_step"):
                self._after_step(number, step, batch)
        return loss

    def _made(self, buffers: Buffers, batch: Batch, rates: Tensor) -> tuple[Tensor, Buffers]:
        if self.program is not None:
            steps = self.optimizer.steps
            numbers = self.optimizer.numbers(rates)
            found = self.program(self.params, buffers, self.optimizer.state, batch, numbers)
            if found is not None:
                return found
            self.program, self.optimizer.steps = None, steps
        return self.run(self.params, buffers, batch, rates)  # type: ignore[arg-type]

    def _after_step(self, number: int, step: int, batch: Batch) -> None:
        """Let a remedy see the weights of the members for which it is due."""
        position = self.members[0][0].plan.position(step)
        due = [i for i, (t, _) in enumerate(self.filled) if t.remedies[number].due(position)]
        remedy = self.members[0][0].remedies[number]
        if not due:
            return
        after_step = torch.func.vmap(remedy.after_step, in_dims=(0, 0, MEMBERS_OF_MANY))
        state = self.states[remedy.name]
        if len(due) == len(self.filled):
            self.states[remedy.name] = after_step(state, self.params, batch)
            return
        chosen = torch.tensor(due, device=batch.targets.device)
        params = {name: value[chosen] for name, value in self.params.items()}
        own = {name: value[chosen] for name, value in state.items()}
        found = after_step(own, params, _of(batch, chosen))
        self.states[remedy.name] = {name: value.index_copy(0, chosen, found[name]) for name, value in state.items()}


def _take(group: Members, params: Params) -> None:
    """Let other tensors be a member's parameters, its optimiser's too, which forgets what it knows of those before."""
    names = {id(value): name for name, value in group.params.items()}
    for options in group.optimizer.param_groups:
        options["params"] = [params[names[id(value)]] for value in options["params"]]
    group.params = params
    group.optimizer.state.clear()


def _joined(trees: Sequence[dict[str, Tensor]], join: Callable[[list[Tensor]], Tensor]) -> dict[str, Tensor]:
    # contiguous copies: views of an earlier stack must not keep it
    return {name: join([tree[name] for tree in trees]).contiguous() for name in trees[0]}


def _of(batch: Batch, chosen: Tensor) -> Batch:
    """Return the part of a batch that a remedy may read after a step: numbers and sizes, not inputs."""
    return batch._replace(
        inputs=batch.targets[chosen],
        targets=batch.targets[chosen],
        draws={name: value[chosen] for name, value in batch.draws.items()},
        values={name: value[chosen] for name, value in batch.values.items()},
        examples={name: value[chosen] for name, value in batch.examples.items()},
    )

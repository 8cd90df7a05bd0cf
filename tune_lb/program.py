"""The program of a training: gradient, update and the remedies around them composed to one step, eager or compiled."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tune_lb.gradient import (
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
)
from tune_lb.pieces import over_microbatches
from tune_lb.precision import normalizing_in_fp32
from tune_lb.remedy import BatchFn, Remedy, StepFn, UpdateFn
from tune_lb.trial import Trial, identity

EXECUTIONS = ("alone", "together", "compiled_alone", "compiled_together")
"""alone: one member at a time; together: members stacked, by torch.func.vmap; each eager or through torch.compile."""

MAX_PROGRAMS = 32


def composed_gradient(
    trial: Trial, module: nn.Module, execution: str, *, stacked: bool, microbatch: int | None = None
) -> GradientFn:
    """Return the gradient of one update, with every remedy's part in it. The module is copied."""
    module = copy.deepcopy(module).train()
    loss = on_targets(trial.loss)
    for remedy in trial.active:
        module, loss = remedy.model(module), remedy.loss(loss)
    # eager and alone autograd is the fastest; stacking and compiling need a function that differentiates functions
    differentiate: Differentiate = by_autograd if execution == "alone" else by_functorch
    if trial.precision != "fp32" and execution.endswith("together"):
        module = normalizing_in_fp32(module)
    gradient = over_microbatches(mean_gradient(module, loss, differentiate, trial.precision), microbatch)
    change: BatchFn = _unchanged
    for remedy in trial.active:
        gradient, change = remedy.gradient(gradient), remedy.batch(change)

    # the batch is changed once per step, outside every gradient: both passes of SAM see the same
    def of_changed_batch(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
        return gradient(params, buffers, change(batch))

    return over_members(of_changed_batch, vectorize=execution.endswith("together")) if stacked else of_changed_batch


def composed_step(
    gradient: GradientFn, remedies: Sequence[Remedy], optimizer: torch.optim.Optimizer, kept: Params | None = None
) -> StepFn:
    """Return gradient and update as one step on the tensors that the optimiser was built over.

    Compiled, the rate is a 0-dimensional tensor in place of a float; remedies compute with either. kept: the parameters' .grad,
    to be filled at every step: where another tensor becomes .grad a compiled graph breaks.
    """
    move = _bare_step(optimizer)

    def gradient_and_update(params: Params, buffers: Buffers, batch: Batch, rate: float) -> tuple[Tensor, Buffers]:
        loss, gradients, updated = gradient(params, buffers, batch)
        update(params, gradients, rate)
        return loss, updated

    def optimizer_step(params: Params, gradients: Params, rate: float) -> None:
        for options in optimizer.param_groups:
            if isinstance(options["lr"], Tensor):
                options["lr"].copy_(torch.as_tensor(rate))
            else:
                options["lr"] = rate
        for name, value in params.items():
            if kept is None:
                value.grad = gradients[name]
            else:
                kept[name].copy_(gradients[name])
        with torch.no_grad():
            move()

    update: UpdateFn = optimizer_step
    for remedy in remedies:
        update = remedy.update(update)
    step: StepFn = gradient_and_update
    for remedy in remedies:
        step = remedy.step(step)
    return step


def _bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """Return the optimiser's step without torch's decorators: they cost a tenth of a small step and break a compiled graph.

    What they do is to leave gradient mode, to mark the step for profilers and to call the optimiser's hooks. A step of
    somebody else's, and one with hooks, is left as it is.
    """
    own = type(optimizer).__module__.startswith(("torch.optim.", "tune_lb.optimizers."))
    hooks = (getattr(optimizer, f"_optimizer_step_{when}_hooks", None) for when in ("pre", "post"))
    if not own or any(hooks) or "step" in vars(optimizer):
        return optimizer.step
    return functools.partial(inspect.unwrap(type(optimizer).step), optimizer)


def _quiet_compiler() -> None:
    import torch._inductor.config  # takes a second or two: not for those who do not compile

    # a pool of compiling processes pays on a large machine only, and would outlive an interrupted worker
    torch._inductor.config.compile_threads = 1
    torch._logging.set_logs(all=logging.ERROR)  # type: ignore[attr-defined]


class CompiledStep:
    """A step compiled whole (torch.compile), with tensors of its own that members are copied into and out of.

    One compilation then serves every trial of the same shapes and the same remedies: searched numbers, the learning rate
    among them, enter as tensors. Cost: the first call compiles (8 to 90 s; a few seconds where the compiler's cache has it).
    """

    def __init__(
        self, trial: Trial, gradient: GradientFn, params: Params, *, members_first: bool, backend: str = "inductor"
    ) -> None:
        self.params = {name: torch.zeros_like(value) for name, value in params.items()}
        first = next(iter(params.values()))
        self.rate = torch.zeros((), dtype=first.dtype, device=first.device)
        self.optimizer = trial.optimizer.build(self.params.values(), 1.0, members_first=members_first)
        self.initial = self._initial_state()
        for options in self.optimizer.param_groups:
            options["lr"] = torch.zeros((), dtype=first.dtype, device=first.device)
            if "foreach" in options and "momentum" not in options:
                options["foreach"] = False  # torch takes a rate that is a tensor with foreach for SGD only
        kept = {name: own.grad for name, own in self.params.items() if own.grad is not None}
        step = composed_step(gradient, trial.active, self.optimizer, kept)
        _quiet_compiler()
        self.compiled: Callable[..., tuple[Tensor, Buffers]] = torch.compile(step, dynamic=False, backend=backend)

    def __call__(self, params: Params, buffers: Buffers, batch: Batch, rate: float) -> tuple[Tensor, Buffers]:
        """Make one step; the parameters are those of `load`."""
        self.rate.fill_(rate)
        with torch.no_grad():
            return self.compiled(self.params, buffers, batch, self.rate)

    def load(self, params: Params, optimizer: torch.optim.Optimizer) -> None:
        """Take over members' parameters and their optimiser's state."""
        for name, own in self.params.items():
            own.copy_(params[name])
            given: dict[str, Any] = optimizer.state.get(params[name], {})
            for key, value in self.optimizer.state[own].items():
                value.copy_(given.get(key, self.initial[name][key]))

    def store(self, params: Params, optimizer: torch.optim.Optimizer) -> None:
        """Give parameters and optimiser state back to the members they came from."""
        for name, own in self.params.items():
            params[name].copy_(own)
            optimizer.state[params[name]] = {key: value.clone() for key, value in self.optimizer.state[own].items()}

    def _initial_state(self) -> dict[str, dict[str, Tensor]]:
        """Make the optimiser's state, which torch makes in the first step only; return what it is before that step."""
        there = {
            name: {key: value.clone() for key, value in self.optimizer.state.get(own, {}).items()}
            for name, own in self.params.items()
        }
        for own in self.params.values():
            own.grad = torch.zeros_like(own)
        self.optimizer.step()
        # every state of these optimisers that is not there from the start begins as zeros
        return {
            name: {
                key: there[name].get(key, torch.zeros_like(value)) for key, value in self.optimizer.state[own].items()
            }
            for name, own in self.params.items()
        }


_programs: dict[str, CompiledStep] = {}


def compiled_step(key: str, make: Callable[[], CompiledStep]) -> CompiledStep:
    """Return the compiled step of a key, made at its first use in this process; the least recently used are dropped."""
    program = _programs.pop(key, None) or make()
    _programs[key] = program
    while len(_programs) > MAX_PROGRAMS:
        _programs.pop(next(iter(_programs)))
    return program


def program_key(trial: Trial, execution: str, *facts: object) -> str:
    """Return what two trials must have in common to share a compiled step: all but the numbers that enter it as tensors.

    Those are the rate and the remedies' floats. Whole numbers (a ghost size) shape the program.
    """
    remedies = []
    for remedy in trial.active:
        fields = {f.name: getattr(remedy, f.name) for f in dataclasses.fields(remedy)}
        shaping = {name: "a number" if isinstance(value, float) else identity(value) for name, value in fields.items()}
        remedies.append([f"{type(remedy).__module__}.{type(remedy).__qualname__}", shaping, list(remedy.variant())])
    parts = [identity(part) for part in (trial.model, trial.optimizer, trial.loss, trial.precision)]
    return json.dumps([execution, *parts, remedies, *map(str, facts)], sort_keys=True)


def _unchanged(batch: Batch) -> Batch:
    return batch

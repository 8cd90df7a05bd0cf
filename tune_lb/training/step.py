"""The program of a training: gradient, update and the remedies around them composed to one step, eager or compiled."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tune_lb.optimizers.building import SHARE
from tune_lb.training.clipping import clipped, clips
from tune_lb.training.gradient import (
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
from tune_lb.training.pieces import over_microbatches
from tune_lb.training.plain_gradient import plain_gradient
from tune_lb.training.precision import normalizing_in_fp32
from tune_lb.training.remedy import BatchFn, Nesting, Remedy, StepFn, UpdateFn, overrides
from tune_lb.training.stacked_batch_norm import normalizing_members_at_once
from tune_lb.training.stacked_gradient import mean_gradient_of_members, stacked_mean_gradient
from tune_lb.training.trial import Trial


def composed_gradient(
    trial: Trial, module: nn.Module, execution: str, *, stacked: bool, microbatch: int | None = None, many: bool = False
) -> GradientFn:
    """Return the gradient of one update, with every remedy's part in it. The module is taken over and changed.

    many: whether stacked members are of several trials, which differ in numbers alone; each then has its own.
    """
    module = module.train()
    loss = on_targets(trial.example_loss)
    for remedy in trial.active:
        module, loss = remedy.model(module), remedy.loss(loss)
    # eager and alone autograd is the fastest; stacking and compiling need a function that differentiates functions
    differentiate: Differentiate = by_autograd if execution == "alone" else by_functorch
    # what an eager stack gains by, a compiler neither takes nor needs
    eager_stack = many and not execution.startswith("compiled")
    module = normalizing_members_at_once(module) if eager_stack else module
    if trial.precision == "bf16" and execution.endswith("together"):
        module = normalizing_in_fp32(module)
    is_clipped = clips(trial.optimizer)
    hooked = microbatch is not None or is_clipped or any(overrides(remedy, "gradient") for remedy in trial.active)
    if eager_stack and not hooked:
        return stacked_mean_gradient(module, loss, _changes(trial), trial.precision)
    if eager_stack:
        mean = mean_gradient_of_members(module, loss, trial.precision)
    elif execution == "plain":
        mean = plain_gradient(module, loss, trial.precision)
    else:
        mean = mean_gradient(module, loss, differentiate, trial.precision)
    gradient = over_microbatches(mean, microbatch)
    points = [remedy for remedy in trial.active if remedy.nesting is Nesting.POINT]
    for remedy in points:
        gradient = remedy.gradient(gradient)
    # before noise, which clipping would cut
    gradient = clipped(gradient, trial.optimizer) if is_clipped else gradient
    for remedy in trial.active[len(points) :]:
        gradient = remedy.gradient(gradient)
    change = _changes(trial)

    # the batch is changed once per step, outside every gradient: both passes of SAM see the same
    def of_changed_batch(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
        return gradient(params, buffers, change(batch))

    if not stacked:
        return of_changed_batch
    return over_members(of_changed_batch, vectorize=execution.endswith("together"), many=many)


def composed_step(
    gradient: GradientFn, remedies: Sequence[Remedy], optimizer: torch.optim.Optimizer, kept: Params | None = None
) -> StepFn:
    """Return gradient and update as one step on the tensors that the optimiser was built over.

    Compiled, the rate is a 0-dimensional tensor in place of a float; remedies compute with either. kept: the parameters' .grad,
    to be filled at every step: where another tensor becomes .grad a compiled graph breaks. A group of parameters with a share
    has that multiple of the rate.
    """
    move = _bare_step(optimizer)

    def optimizer_step(params: Params, gradients: Params, rate: float) -> None:
        for options in optimizer.param_groups:
            own = rate * options[SHARE] if SHARE in options else rate
            if isinstance(options["lr"], Tensor):
                options["lr"].copy_(torch.as_tensor(own))
            else:
                options["lr"] = own
        for name, value in params.items():
            if kept is None:
                value.grad = gradients[name]
            else:
                kept[name].copy_(gradients[name])
        with torch.no_grad():
            move()

    return with_update(gradient, remedies, optimizer_step)


def with_update(gradient: GradientFn, remedies: Sequence[Remedy], innermost: UpdateFn) -> StepFn:
    """Return gradient and update as one step, the remedies around each and around both. innermost: the optimiser's own."""
    update = innermost
    for remedy in remedies:
        update = remedy.update(update)

    def gradient_and_update(params: Params, buffers: Buffers, batch: Batch, rate: float) -> tuple[Tensor, Buffers]:
        loss, gradients, updated = gradient(params, buffers, batch)
        update(params, gradients, rate)
        return loss, updated

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


def _changes(trial: Trial) -> BatchFn:
    change: BatchFn = _unchanged
    for remedy in trial.active:
        change = remedy.batch(change)
    return change


def _unchanged(batch: Batch) -> Batch:
    return batch

"""Whether an optimiser can train a network: it is built, and what cannot be had is refused before anything starts."""

from __future__ import annotations

import inspect
import re

import torch
from torch import nn

from tune_lb.errors import own_line
from tune_lb.optimizers.building import built, call_build, is_ours
from tune_lb.optimizers.groups import shared_out
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.training.trial import Trial


def optimizer_problems(trial: Trial, module: nn.Module) -> list[str]:
    """Return why the trial's optimiser cannot train the network, a line each. The network is not changed."""
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    found = [
        f"parameter {name} is complex: losses here have derivatives in real numbers only; keep its real and imaginary parts as two "
        "parameters"
        for name, p in trained.items()
        if p.is_complex()
    ]
    found += [
        f"layer {name} is {type(part).__name__}(sparse=True): sparse gradients are not supported; leave sparse out"
        for name, part in module.named_modules()
        if isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.sparse
    ]
    if found or not trained:
        return found
    settings, names = trial.optimizer, shared_out(trial.optimizer.groups, trained)
    known = ", ".join(list(trained)[:6]) + (", ..." if len(trained) > 6 else "")
    found += [
        f"optimizer.groups: group {i}, {group!r}, takes no parameter that is left for it (the network has {known})"
        for i, (group, own) in enumerate(zip(settings.groups, names, strict=False), 1)
        if not own
    ]
    if is_ours(settings) and not settings.groups:
        return found
    return found + _own_problems(settings, {name: p.detach() for name, p in trained.items()}, trial.learning_rate)


def _own_problems(settings: OptimizerSettings, params: dict[str, torch.Tensor], lr: float) -> list[str]:
    what = f"optimizer {type(settings).__name__}"
    try:
        optimizer = call_build(settings, params, lr, members_first=False)
        # of what is no optimiser, or has no rate, the rest cannot be asked
        usual = isinstance(optimizer, torch.optim.Optimizer) and all("lr" in group for group in optimizer.param_groups)
        made = [built(settings, params, rate) for rate in (lr, 2 * lr)] if usual else []
    except (
        Exception
    ) as error:  # build is the user's own: whatever it raises is a mistake in it, to be shown with its place
        place = own_line(error)
        return [f"{what}: build raises {type(error).__name__}: {_first_line(error)}{f' ({place})' if place else ''}"]
    if not isinstance(optimizer, torch.optim.Optimizer):
        return [f"{what}: build returns {type(optimizer).__name__}, not a torch.optim.Optimizer"]
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if isinstance(optimizer, torch.optim.LBFGS) or (closure is not None and closure.default is inspect.Parameter.empty):
        return [
            f"{what}: {type(optimizer).__name__} needs a closure that takes the gradient several times in a step; take one "
            "that moves by one gradient"
        ]
    if isinstance(optimizer, torch.optim.SparseAdam):
        return [f"{what}: SparseAdam takes sparse gradients only; take Adam"]
    if not made:
        return [
            f"{what}: {type(optimizer).__name__} has no rate (lr) in its groups, which schedule and search could set"
        ]
    known = {id(value) for value in params.values()}
    if any(id(value) not in known for group in optimizer.param_groups for value in group["params"]):
        return [f"{what}: build gives the optimiser tensors that are not the ones it was called with"]
    rates = [[float(group["lr"]) for group in each.param_groups] for each in made]
    if rates[0] == rates[1] and any(rates[0]):
        return [
            f"{what}: its rate is {max(rates[0]):g} whatever lr is; build(tensors, lr) must pass lr on, as in "
            f"torch.optim.SGD(tensors, lr=lr)"
        ]
    return []


def _first_line(error: Exception) -> str:
    # torch begins some messages with the code that it objects to
    return re.sub(r"\s+", " ", (str(error).strip().splitlines() or [""])[0])[:200]

"""The torch optimiser of a training: over one member's parameters or stacked ones, with groups and rates of their own."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tune_lb.optimizers.groups import shared_out
from tune_lb.optimizers.settings import OptimizerSettings

SHARE = "share"
"""Option of a parameter group: its rate as a multiple of the step's, where that is not 1."""

STEPS = 2


class NotSeparable(RuntimeError):
    """An optimiser that moves a member by what others beside it are: members cannot be stacked."""


def built(
    settings: OptimizerSettings,
    params: Mapping[str, Tensor],
    lr: float,
    *,
    members_first: bool = False,
    like: Mapping[str, Tensor] | None = None,
) -> torch.optim.Optimizer:
    """Return the optimiser over the parameters, its groups made from the shapes and names of one member's.

    members_first: tensors have a leading member dimension; a rule that looks at their shapes (`p.ndim > 1`) must not see it.
    like: one member's parameters, where `params` are stacked or have other dimensions before their own.
    A group that `build` gave a rate of its own keeps its share of lr: it is multiplied by what the schedule and remedies make
    of the rate, as torch's schedulers do. Raises NotSeparable where stacked members would not be moved each by itself.
    """
    made = _made(settings, params, lr, members_first=members_first)
    if members_first or like is not None:
        one = like if like is not None else {name: value[0] for name, value in params.items()}
        regroup(made, params, _made(settings, one, lr, members_first=False), one)
        num_members = len(next(iter(params.values()))) if members_first else 1
        shapes = tuple((name, tuple(value.shape)) for name, value in one.items())
        if num_members > 1 and not is_ours(settings) and not _separable(settings, shapes, lr):
            raise NotSeparable(
                f"optimizer {type(settings).__name__} looks at whole tensors, in which stacked members stand side by side; take "
                "members_first in its build, or train them alone"
            )
    for group in made.param_groups:
        share = float(group["lr"]) / lr
        if share != 1.0:
            group[SHARE] = share
    return made


def is_ours(settings: OptimizerSettings) -> bool:
    """Say whether an optimiser is one of tune_lb's own."""
    return type(settings).__module__.startswith("tune_lb.")


def options_of(settings: OptimizerSettings, optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """Return what an optimiser's groups are set to beside their rates, where its settings do not tell; for ours nothing."""
    if is_ours(settings):
        return ()
    rates = ("params", "param_names", "lr", "initial_lr", SHARE)
    return tuple(
        f"{key}={value}" for group in optimizer.param_groups for key, value in group.items() if key not in rates
    )


def regroup(
    optimizer: torch.optim.Optimizer,
    params: Mapping[str, Tensor],
    like: torch.optim.Optimizer,
    like_params: Mapping[str, Tensor],
) -> None:
    """Give an optimiser the groups of another one over parameters of the same names; its state stays."""
    names = {id(value): name for name, value in like_params.items()}
    told = {key: value for key, value in optimizer.defaults.items() if key == "members_first"}
    optimizer.param_groups = [
        {**group, **told, "params": [params[names[id(value)]] for value in group["params"]]}
        for group in like.param_groups
    ]


def call_build(
    settings: OptimizerSettings, params: Mapping[str, Tensor], lr: float, *, members_first: bool
) -> torch.optim.Optimizer:
    """Call an optimiser's build with what it takes: tensors and rate, and by name `members_first` and `names`."""
    _groups_without_compiler()
    offered = {"members_first": members_first, "names": list(params)}
    return settings.build(list(params.values()), lr, **{key: offered[key] for key in taken(settings)})  # type: ignore[arg-type]


def _groups_without_compiler() -> None:
    """Let torch's optimisers take parameters without loading torch's compiler.

    torch marks that method as one not to be compiled, and loads the compiler (a second or two, 100 MB) when it is first called, to
    say so. It is called where an optimiser is made, never in a compiled step.
    """
    function = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
    if function is not None and "torch._dynamo" not in sys.modules:
        vars(function).setdefault("__dynamo_disable", function)


def taken(settings: OptimizerSettings) -> list[str]:
    """Return which of the named arguments an optimiser's build takes."""
    known = inspect.signature(settings.build).parameters
    every = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    return [name for name in ("members_first", "names") if every or name in known]


def _made(
    settings: OptimizerSettings, params: Mapping[str, Tensor], lr: float, *, members_first: bool
) -> torch.optim.Optimizer:
    if not settings.groups:
        return call_build(settings, params, lr, members_first=members_first)
    plain: OptimizerSettings = dataclasses.replace(settings, groups=())
    whole = call_build(plain, params, lr, members_first=members_first)
    one = {name: value[0] for name, value in params.items()} if members_first else params
    options: list[dict[str, Any]] = []
    for names, group in zip(shared_out(settings.groups, one), (*settings.groups, None), strict=True):
        if names:
            own = plain.resolved(group.changes()) if group is not None else plain
            of_group = {name: params[name] for name in names}
            rate = lr if group is None else lr * group.rate
            options += call_build(own, of_group, rate, members_first=members_first).param_groups
    whole.param_groups = options
    return whole


@functools.lru_cache(maxsize=64)
def _separable(settings: OptimizerSettings, shapes: tuple[tuple[str, tuple[int, ...]], ...], lr: float) -> bool:
    """Say whether two stacked members are moved as each alone: tried on drawn tensors."""
    stream = torch.Generator().manual_seed(0)

    def drawn() -> list[dict[str, Tensor]]:
        return [{name: torch.randn(shape, generator=stream) for name, shape in shapes} for _ in range(2)]

    starts, slopes = drawn(), [drawn() for _ in range(STEPS)]
    alone = [{name: value.clone() for name, value in start.items()} for start in starts]
    stacked = {name: torch.stack([start[name] for start in starts]) for name, _ in shapes}
    for i, params in enumerate(alone):
        _move(_made(settings, params, lr, members_first=False), params, [slope[i] for slope in slopes])
    together = _made(settings, stacked, lr, members_first=True)
    regroup(together, stacked, _made(settings, starts[0], lr, members_first=False), starts[0])
    _move(together, stacked, [{name: torch.stack([s[name] for s in slope]) for name, _ in shapes} for slope in slopes])
    return all(
        torch.allclose(stacked[name][i], params[name], rtol=1e-4, atol=1e-6)
        for i, params in enumerate(alone)
        for name in params
    )


def _move(optimizer: torch.optim.Optimizer, params: Mapping[str, Tensor], slopes: list[dict[str, Tensor]]) -> None:
    for slope in slopes:
        for name, value in params.items():
            value.grad = slope[name].clone()
        with torch.no_grad():
            optimizer.step()

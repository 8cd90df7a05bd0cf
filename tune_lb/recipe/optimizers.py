"""How a recipe makes its optimiser: as torch has it, with the groups of the trial, or by the user's own build."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from tune_lb.optimizers.building import SHARE, call_build, is_ours, taken
from tune_lb.optimizers.groups import Group, shared_out
from tune_lb.recipe.expressions import Expressions
from tune_lb.training.trial import Trial

RATE = "learning_rate(step, num_updates, len(inputs))"
ONE_RATE = f'optimizer.param_groups[0]["lr"] = {RATE}'
SHARES = f"""for group, share in zip(optimizer.param_groups, shares):
            group["lr"] = share * {RATE}"""
NAMED = "    named = {name: p for name, p in model.named_parameters() if p.requires_grad}\n"
OWN_SHARES = '    shares = [group["lr"] / LEARNING_RATE for group in optimizer.param_groups]\n'


def optimizer_code(trial: Trial, module: nn.Module, written: Expressions) -> tuple[str, str]:
    """Return the lines that make the optimiser, and the one that sets its rates in a step."""
    settings = trial.optimizer
    if not is_ours(settings):
        names = ", names=list(named)" if "names" in taken(settings) else ""
        made = f"    optimizer = {written.of(settings)}.build(list(named.values()), LEARNING_RATE{names})\n"
        return NAMED + made + OWN_SHARES, SHARES
    params = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    built = call_build(settings, params, trial.learning_rate, members_first=False)
    options = "".join(f", {name}={written.of(value)}" for name, value in _changed(built).items())
    kind = type(built)
    name = f"torch.optim.{kind.__name__}" if kind.__module__.startswith("torch.optim") else written.of(kind)
    if not settings.groups:
        return f"    optimizer = {name}(model.parameters(), lr=LEARNING_RATE{options})\n", ONE_RATE
    return _grouped(
        trial, params, built, written
    ) + f"    optimizer = {name}(groups, lr=LEARNING_RATE{options})\n" + OWN_SHARES, SHARES


def _grouped(trial: Trial, params: dict[str, torch.Tensor], built: torch.optim.Optimizer, written: Expressions) -> str:
    """Return the lines that share out the parameters: each to the first group that takes it."""
    settings = trial.optimizer
    lines = ["    groups, left = [], {name: p for name, p in model.named_parameters() if p.requires_grad}"]
    for group, names in zip((*settings.groups, None), shared_out(settings.groups, params), strict=True):
        if not names:
            continue
        options = "" if group is None else _options(group, trial, built, written)
        rule = "" if group is None else _rule(group, written)
        lines.append(f"    own = {{name: p for name, p in left.items(){rule}}}")
        lines.append(f'    groups.append({{"params": list(own.values()){options}}})')
        lines.append("    left = {name: p for name, p in left.items() if name not in own}")
    return "\n".join(lines[:-1]) + "\n"


def _rule(group: Group, written: Expressions) -> str:
    search = f"{written.imported_as('re', 'search')}({group.names!r}, name)" if group.names else ""
    rules = [rule for rule in (search, "p.ndim <= 1" if group.vectors else "") if rule]
    return f" if {' and '.join(rules)}" if rules else ""


def _options(group: Group, trial: Trial, built: torch.optim.Optimizer, written: Expressions) -> str:
    """Return what a group is set to where that is not what the others are."""
    plain: Any = trial.optimizer.resolved({"groups": (), **group.changes()})
    own = plain.build([torch.zeros(1)], trial.learning_rate).defaults
    rate = "" if group.rate == 1.0 else f', "lr": {written.of(group.rate)} * LEARNING_RATE'
    known = ("lr", "foreach", "members_first", SHARE)
    return rate + "".join(
        f", {name!r}: {written.of(value)}"
        for name, value in own.items()
        if name not in known and value != built.defaults[name]
    )


def _changed(built: torch.optim.Optimizer) -> dict[str, Any]:
    known = inspect.signature(type(built)).parameters
    return {
        name: value
        for name, value in built.defaults.items()
        if name in known and name not in ("lr", "foreach") and value != known[name].default
    }

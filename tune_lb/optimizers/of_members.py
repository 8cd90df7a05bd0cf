"""The optimiser of stacked members that have settings and rates of their own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, AdamW, RMSprop
from tune_lb.optimizers.groups import shared_out
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.optimizers.layerwise import adapted, log_of
from tune_lb.optimizers.member_formulas import MOVES, Numbers, State
from tune_lb.optimizers.muon import Muon
from tune_lb.optimizers.settings import OptimizerSettings

STATE: Mapping[type[OptimizerSettings], tuple[str, ...]] = {
    SGD: (),
    Adam: ("exp_avg", "exp_avg_sq"),
    AdamW: ("exp_avg", "exp_avg_sq"),
    AdaGrad: ("sum",),
    RMSprop: ("square_avg",),
    LARS: ("velocity",),
    LAMB: ("mean", "mean_square"),
    Muon: ("velocity",),
}
"""What each remembers of every tensor, under the names that its torch optimiser has for it; see also _state_of."""


def has_member_form(settings: OptimizerSettings) -> bool:
    """Say whether members with different settings of this kind can be moved as one stack."""
    return type(settings) in MOVES


def program_of(settings: OptimizerSettings) -> str:
    """Return what the settings of all members of a stack have in common: all but the numbers, and whether those are 0 that then
    leave a part of the formula out."""
    parts = [settings, *(_of_group(settings, i) for i in range(len(settings.groups)))]
    rules = [(group.names, group.vectors) for group in settings.groups]
    return json.dumps([type(settings).__name__, rules, [_facts(part) for part in parts]])


class MemberOptimizer:
    """The optimiser of stacked members, each with its own settings of one kind (`program_of`) and its own rate.

    settings: those of each member. params: stacked, (members, ...); they are moved in place. like: the parameters of one member, as
    the network has them. Raises ValueError for members of different programs.
    """

    def __init__(
        self, settings: Sequence[OptimizerSettings], params: dict[str, Tensor], like: Mapping[str, Tensor]
    ) -> None:
        if not has_member_form(settings[0]) or len({program_of(each) for each in settings}) != 1:
            raise ValueError("members of one stack have optimisers of one kind, which differ in numbers alone")
        self.params, self.steps, self.kind = params, 0, settings[0]
        self.state: dict[str, State] = {
            name: {key: torch.zeros_like(value) for key in _state_of(settings[0], value)}
            for name, value in params.items()
        }
        self.ordered = False
        self.scratch = {name: torch.empty_like(value) for name, value in params.items()}
        first = next(iter(params.values()))
        self.sections = [
            _Section(own, [_of_group(each, i) for each in settings], first.dtype, first.device)
            for i, own in enumerate(shared_out(settings[0].groups, like))
            if own
        ]

    def step(self, gradients: Mapping[str, Tensor], rates: Tensor) -> None:
        """Move every member by its gradient. rates: (members,), float64 on the CPU.

        The first step may put other tensors into the dict of parameters: of the same numbers, in the order in memory in which
        gradients come, which makes what follows up to six times as fast.
        """
        if not self.ordered:
            self._order_as(gradients)
        move_all(self.kind, self.numbers(rates), self.params, gradients, self.state, self.scratch)

    def numbers(self, rates: Tensor) -> list[tuple[Sequence[str], Numbers]]:
        """Return the numbers of the next update, for the names of each group of parameters; it counts as made."""
        self.steps += 1
        return [(section.names, section.numbers(rates, self.steps)) for section in self.sections]

    def _order_as(self, gradients: Mapping[str, Tensor]) -> None:
        self.ordered = True
        for name, gradient in gradients.items():
            weight = self.params[name]
            if gradient.stride() != weight.stride() and _is_dense(gradient):
                self.params[name] = torch.empty_like(gradient).copy_(weight)
                self.scratch[name] = torch.empty_like(gradient)
                self.state[name] = {
                    key: torch.empty_like(gradient).copy_(value) for key, value in self.state[name].items()
                }

    def load(self, rows: int | slice, optimizer: torch.optim.Optimizer, params: Mapping[str, Tensor]) -> None:
        """Take over what a member's own optimiser, made over `params`, remembers. rows: the member's place in the stack."""
        for name, value in params.items():
            for key, own in optimizer.state.get(value, {}).items():
                if key == "step":
                    self.steps = int(own)
                elif own is not None:
                    self.state[name][key][rows].copy_(own)

    def store(self, rows: int | slice, optimizer: torch.optim.Optimizer, params: Mapping[str, Tensor]) -> None:
        """Let what a member's own optimiser remembers be the member's part of what the stack does: views, not copies."""
        for name, value in params.items():
            found = {key: whole[rows] for key, whole in self.state[name].items()}
            if _counts(self.kind, self.params[name]):
                device = value.device if isinstance(self.kind, LAMB | Muon) else "cpu"
                found["step"] = torch.tensor(float(self.steps), device=device)
            if found:
                optimizer.state[value] = found


def move_all(
    kind: OptimizerSettings,
    numbers: Sequence[tuple[Sequence[str], Numbers]],
    params: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    state: Mapping[str, State],
    scratch: Mapping[str, Tensor] | None = None,
) -> None:
    """Move stacked members in place, by the numbers of an update (MemberOptimizer.numbers). scratch: see Move."""
    move = MOVES[type(kind)]
    for names, of_section in numbers:
        shaped: dict[int, Numbers] = {}
        for name in names:
            weight = params[name]
            if weight.ndim not in shaped:
                shaped[weight.ndim] = _shaped(of_section, weight.ndim)
            move(weight, gradients[name], state[name], shaped[weight.ndim], scratch[name] if scratch else None)


class _Section:
    """Parameters of one group: the settings and shares of the rate that its members have there."""

    def __init__(
        self,
        names: Sequence[str],
        settings: Sequence[OptimizerSettings],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.names, self.settings, self.dtype, self.device = names, settings, dtype, device
        self.shares = torch.tensor([_share(each) for each in settings], dtype=torch.float64)
        self.plain_rate = all(_share(each) == 1.0 for each in settings)
        self.fixed: dict[str, Any] = dict(_facts(settings[0]))
        numbers = [_fixed_numbers(each) for each in settings]
        self.fixed |= {key: self._tensor([of_one[key] for of_one in numbers]) for key in numbers[0]}
        self.betas = [(getattr(each, "beta1", 0.0), getattr(each, "beta2", 0.0)) for each in settings]

    def numbers(self, rates: Tensor, steps: int) -> dict[str, Any]:
        """Return the numbers of an update, each (members,)."""
        lr = rates if self.plain_rate else rates * self.shares
        kind, found = self.settings[0], dict(self.fixed)
        if isinstance(kind, Adam):
            # in Python's own arithmetic, as torch does it
            first = torch.tensor([1 - beta1**steps for beta1, _ in self.betas], dtype=torch.float64)
            found["length"] = self._moved(-(lr / first))
            found["root"] = self._tensor([(1 - beta2**steps) ** 0.5 for _, beta2 in self.betas])
            if isinstance(kind, AdamW) and found["decays"]:
                found["kept"] = self._moved(1 - lr * self._doubles("weight_decay"))
            return found
        found["lr"] = self._moved(lr)
        found["minus_lr"] = -found["lr"]
        if isinstance(kind, LAMB | Muon):
            found |= {"log1": steps * found["log_beta1"], "log2": steps * found["log_beta2"]}
            if isinstance(kind, Muon):
                found["vector_lr"] = self._moved(lr * self._doubles("vector_rate"))
        return found

    def _doubles(self, field: str) -> Tensor:
        return torch.tensor([getattr(each, field) for each in self.settings], dtype=torch.float64)

    def _tensor(self, values: Sequence[float]) -> Tensor:
        return self._moved(torch.tensor(values, dtype=torch.float64))

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self.device, self.dtype)


def _is_dense(value: Tensor) -> bool:
    """Say whether a tensor's entries fill its memory, each once, in whatever order of its dimensions."""
    order = sorted(range(value.ndim), key=value.stride, reverse=True)
    return value.permute(order).is_contiguous()


def _shaped(numbers: Numbers, dimensions: int) -> Numbers:
    ones = (1,) * (dimensions - 1)
    return {key: value.view(-1, *ones) if isinstance(value, Tensor) else value for key, value in numbers.items()}


def _of_group(settings: OptimizerSettings, number: int) -> OptimizerSettings:
    """Return the settings of the parameters in a group, which is kept for its share of the rate; after the last: in none."""
    plain: OptimizerSettings = dataclasses.replace(settings, groups=())
    if number >= len(settings.groups):
        return plain
    group = settings.groups[number]
    changed: OptimizerSettings = plain.resolved(group.changes())
    return dataclasses.replace(changed, groups=(group,))


def _share(settings: OptimizerSettings) -> float:
    return settings.groups[0].rate if settings.groups else 1.0


def _facts(settings: OptimizerSettings) -> dict[str, Any]:
    """Return what is no number of one member: the form of the update."""
    found: dict[str, Any] = {"members_first": True, "decays": settings.weight_decay != 0}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, bool | int | str) or value is None:
            found[field.name] = value
    if hasattr(settings, "momentum"):
        found["has_momentum"] = settings.momentum != 0
    for number in NUMBERS:
        found.pop(number, None)
    if isinstance(settings, LAMB) and settings.largest_norm is None:
        found["largest_norm"] = None
    return found


NUMBERS = (
    "weight_decay",
    "momentum",
    "beta1",
    "beta2",
    "eps",
    "trust_coefficient",
    "initial_accumulator",
    "vector_rate",
    "largest_norm",
)
"""Fields that are a number of each member, be they given as whole ones."""


def _fixed_numbers(settings: OptimizerSettings) -> dict[str, float]:
    found = {name: float(value) for name in NUMBERS if (value := getattr(settings, name, None)) is not None}
    if "beta2" in found:
        found["gain2"] = 1 - found["beta2"]
    if "beta1" in found:
        found["gain1"] = 1 - found["beta1"]
        found |= {"log_beta1": log_of(found["beta1"]), "log_beta2": log_of(found["beta2"])}
    return found


def _state_of(settings: OptimizerSettings, weight: Tensor) -> tuple[str, ...]:
    if isinstance(settings, Muon) and not adapted(weight, members_first=True):
        return STATE[LAMB]
    own = STATE[type(settings)]
    parts = [_of_group(settings, i) for i in range(len(settings.groups) + 1)]
    if isinstance(settings, SGD | RMSprop) and any(_facts(part)["has_momentum"] for part in parts):
        own = (*own, "momentum_buffer")
    return (*own, "grad_avg") if isinstance(settings, RMSprop) and settings.centered else own


def _counts(settings: OptimizerSettings, weight: Tensor) -> bool:
    """Say whether the torch optimiser counts the updates of a tensor."""
    return not isinstance(settings, SGD | LARS | Muon) or (
        isinstance(settings, Muon) and not adapted(weight, members_first=True)
    )

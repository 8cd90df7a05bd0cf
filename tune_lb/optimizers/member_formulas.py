"""The update of every optimiser for stacked members, each number a tensor of one for each member.

Every formula is that of torch.optim to the last bit (where it has one), entry by entry in the same order of operations: what is
`add(..., alpha=rate)` there, with one rate, is `addcmul` here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, AdamW, RMSprop
from tune_lb.optimizers.lamb import LAMB, lamb_move
from tune_lb.optimizers.lars import LARS, lars_move, lars_ratio
from tune_lb.optimizers.layerwise import adapted, corrected_direction
from tune_lb.optimizers.muon import Muon, muon_move
from tune_lb.optimizers.settings import OptimizerSettings

State = dict[str, Tensor]
Numbers = Mapping[str, Any]
"""Of an update of one tensor: by name a tensor with a number for each member, in the dimensions of the tensor, or a fact of all."""

Move = Callable[[Tensor, Tensor, State, Numbers, Tensor | None], None]
"""(stacked weights, stacked gradients, state, numbers, scratch) -> None: in place on the weights and the state.

scratch: as large as the weights, to be written over: a new tensor in every update costs as much as the arithmetic. None for a
compiled update, which keeps what it can out of memory."""


def _with_decay(weight: Tensor, gradient: Tensor, n: Numbers, scratch: Tensor | None) -> Tensor:
    return torch.addcmul(gradient, weight, n["weight_decay"], out=scratch) if n["decays"] else gradient


def _sgd(weight: Tensor, gradient: Tensor, state: State, n: Numbers, scratch: Tensor | None) -> None:
    push = _with_decay(weight, gradient, n, scratch)
    if n["has_momentum"]:
        velocity = state["momentum_buffer"].mul_(n["momentum"]).add_(push)
        push = torch.addcmul(push, velocity, n["momentum"], out=scratch) if n["nesterov"] else velocity
    weight.addcmul_(push, n["minus_lr"])


def _adam(weight: Tensor, gradient: Tensor, state: State, n: Numbers, scratch: Tensor | None) -> None:
    push = gradient
    if "kept" in n:
        weight.mul_(n["kept"])
    else:
        push = _with_decay(weight, gradient, n, scratch)
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    mean.lerp_(push, n["gain1"])
    square.mul_(n["beta2"]).addcmul_(push * n["gain2"], push)
    weight.addcdiv_(mean * n["length"], square.sqrt().div_(n["root"]).add_(n["eps"]))


def _adagrad(weight: Tensor, gradient: Tensor, state: State, n: Numbers, scratch: Tensor | None) -> None:
    push = _with_decay(weight, gradient, n, scratch)
    total = state["sum"].addcmul_(push, push)
    weight.addcdiv_(push * n["minus_lr"], total.sqrt().add_(n["eps"]))


def _rmsprop(weight: Tensor, gradient: Tensor, state: State, n: Numbers, scratch: Tensor | None) -> None:
    push = _with_decay(weight, gradient, n, scratch)
    square = state["square_avg"].mul_(n["beta2"]).addcmul_(push * n["gain2"], push)
    if n["centered"]:
        mean = state["grad_avg"].lerp_(push, n["gain2"])
        square = square.addcmul(mean, mean, value=-1)
    root = square.sqrt().add_(n["eps"])
    if n["has_momentum"]:
        velocity = state["momentum_buffer"].mul_(n["momentum"]).addcdiv_(push, root)
        weight.addcmul_(velocity, n["minus_lr"])
    else:
        weight.addcdiv_(push * n["minus_lr"], root)


def _lars(weight: Tensor, gradient: Tensor, state: State, n: Numbers, scratch: Tensor | None) -> None:
    ratio = lars_ratio(weight, gradient, n) if adapted(weight, members_first=True) else None
    lars_move(weight, gradient, state, n, ratio)


def _adam_direction(gradient: Tensor, state: State, n: Numbers) -> Tensor:
    state["mean"].lerp_(gradient, n["gain1"])
    state["mean_square"].mul_(n["beta2"]).addcmul_(gradient * n["gain2"], gradient)
    return corrected_direction(state, (-torch.expm1(n["log1"]), -torch.expm1(n["log2"])), n["eps"])


def _lamb(weight: Tensor, gradient: Tensor, state: State, n: Numbers, scratch: Tensor | None) -> None:
    lamb_move(weight, _adam_direction(gradient, state, n), n)


def _muon(weight: Tensor, gradient: Tensor, state: State, n: Numbers, scratch: Tensor | None) -> None:
    if adapted(weight, members_first=True):
        muon_move(weight, gradient, state, n)
    else:
        weight.sub_(_adam_direction(gradient, state, n) * n["vector_lr"])


MOVES: Mapping[type[OptimizerSettings], Move] = {
    SGD: _sgd,
    Adam: _adam,
    AdamW: _adam,
    AdaGrad: _adagrad,
    RMSprop: _rmsprop,
    LARS: _lars,
    LAMB: _lamb,
    Muon: _muon,
}

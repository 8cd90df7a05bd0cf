"""The plain way: a network's gradient as an ordinary PyTorch loop takes it, in the network's own tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tune_lb.surface.swapped import Places
from tune_lb.training.gradient import (
    DROPOUT_KEY,
    Batch,
    Buffers,
    GradientFn,
    Params,
    TrainingLoss,
    given_inputs,
    is_of_remedy,
    seeding,
)
from tune_lb.training.precision import in_precision


def plain_gradient(module: nn.Module, loss: TrainingLoss, precision: str = "fp32") -> GradientFn:
    """Return mean_gradient of one member, by the forward and backward pass of its own network, which keeps its identity.

    Where the fast way calls the network as a function of tensors that stand in for its own, here parameters and buffers are copied
    into its own tensors, `backward` fills their .grad, and what comes out is copied. So hooks on parameters work, references to
    them that a network keeps elsewhere, `.data` that a forward pass sets (max-norm layers: the parameters given change with it,
    in place), and networks that torch.func does not take. To remedies it is the same function: called at another point it leaves
    the buffers of the first alone. module: nobody else's, in training mode. Cost: as mean_gradient; a copy of the buffers more.
    """
    places = Places(module)
    own = dict(module.named_parameters())
    tensors = own | dict(module.named_buffers())

    def run(_: object, inputs: Tensor) -> Tensor:
        outputs: Tensor = module(inputs)
        return outputs

    call = in_precision(run, precision)

    def gradient(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
        mine = {name: value for name, value in buffers.items() if not is_of_remedy(name)}
        places.put(tensors)
        for name, parameter in own.items():
            given = params[name] if name in params else mine[name]
            parameter.grad, parameter.data = None, given.detach()
        for name in mine.keys() - own.keys():
            _fill(places, name, tensors[name], _given(name, mine[name], batch))
        with seeding(batch), torch.enable_grad():
            value = loss(call({}, given_inputs(batch)), batch).mean()
        value.backward()  # type: ignore[no-untyped-call]
        gradients = {name: _dense(own[name].grad, params[name]) for name in params}
        after = places.at(tensors)
        for name in params:
            # a forward pass that has set .data has moved the member
            if after[name].data_ptr() != params[name].data_ptr():
                params[name].data.copy_(after[name].detach())
        updated = {name: after[name].detach().clone() for name in mine if not name.endswith(DROPOUT_KEY)}
        return value.detach(), gradients, buffers | updated

    return gradient


def _given(name: str, value: Tensor, batch: Batch) -> Tensor:
    return batch.examples.get(DROPOUT_KEY, value) if name.endswith(DROPOUT_KEY) else value


def _fill(places: Places, name: str, own: Tensor, value: Tensor) -> None:
    if own.shape == value.shape and own.dtype == value.dtype:
        with torch.no_grad():
            own.copy_(value)
    else:
        places.put({name: value.clone()})


def _dense(gradient: Tensor | None, like: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros_like(like)
    return gradient.to_dense() if gradient.is_sparse else gradient.detach()

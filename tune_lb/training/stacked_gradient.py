"""Mean gradients of stacked members: only the forward pass is vectorised, and plain autograd runs back through all of it.

As no member's loss depends on another's parameters, the gradient of the sum of all is that of each: the same numbers as
torch.func.grad of each under torch.func.vmap, up to rounding, by half as many calls of the dispatcher. They cannot be
differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from tune_lb.surface.swapped import Places
from tune_lb.training.gradient import (
    MEMBERS_OF_MANY,
    Batch,
    Buffers,
    GradientFn,
    MeanLoss,
    Params,
    TrainingLoss,
    by_autograd,
    mean_loss,
)


def stacked_mean_gradient(
    module: nn.Module, loss: TrainingLoss, change: Callable[[Batch], Batch], precision: str = "fp32"
) -> GradientFn:
    """Return the mean gradient of stacked members of several trials, each of its own changed batch; nothing wraps it."""
    objective, places = mean_loss(module, loss, precision)

    def of_one(point: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Buffers]:
        return objective(point, buffers, change(batch))

    of_all = torch.func.vmap(of_one, in_dims=(0, 0, MEMBERS_OF_MANY))

    def gradient(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
        losses, gradients, updated = _differentiated(lambda point: of_all(point, buffers, batch), params, places)
        return losses, gradients, buffers | updated

    return gradient


def mean_gradient_of_members(module: nn.Module, loss: TrainingLoss, precision: str = "fp32") -> GradientFn:
    """Return mean_gradient for remedies to wrap, to be called under torch.func.vmap over members and nothing else.

    Where it is called there is one member, as everywhere in a remedy; the call then is one operation of all of them.
    """
    objective, places = mean_loss(module, loss, precision)

    def gradient(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
        leaves, spec = tree_flatten((params, buffers, batch))
        call = _Call(objective, places, spec, list(params))
        value, *found = _MeanGradient.apply(call, *leaves)
        gradients = dict(zip(params, found, strict=False))
        return value, gradients, buffers | dict(zip(call.updated, found[len(gradients) :], strict=True))

    return gradient


class _Call:
    """One call of the gradient of members: the tree of its arguments, and which buffers came out of it."""

    def __init__(self, objective: MeanLoss, places: Places, spec: TreeSpec, names: Sequence[str]) -> None:
        self.objective, self.places, self.spec, self.names = objective, places, spec, names
        self.updated: list[str] = []

    def __call__(self, in_dims: Sequence[int | None], leaves: Sequence[Any]) -> tuple[Tensor, ...]:
        number = len(self.names)
        params = {name: leaf.movedim(dim, 0) for name, leaf, dim in zip(self.names, leaves, in_dims, strict=False)}

        def of_one(*own: Any) -> tuple[Tensor, Buffers]:
            return self.objective(*tree_unflatten(own, self.spec))

        of_all = torch.func.vmap(of_one, in_dims=(*[0] * number, *in_dims[number:]))
        losses, gradients, updated = _differentiated(
            lambda point: of_all(*point.values(), *leaves[number:]), params, self.places
        )
        self.updated = list(updated)
        return losses, *gradients.values(), *updated.values()


class _MeanGradient(torch.autograd.Function):
    """The gradient as one operation, so that torch.func.vmap asks for that of all members at once."""

    @staticmethod
    def forward(call: _Call, *leaves: Any) -> tuple[Tensor, ...]:
        raise RuntimeError(
            "a gradient of stacked members is called under torch.func.vmap over members and nothing else"
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: it is not differentiated."""

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], call: _Call, *leaves: Any) -> tuple[Any, Any]:
        found = call(in_dims[1:], leaves)
        return found, (0,) * len(found)


def _differentiated(
    of_all: Callable[[Params], tuple[Tensor, Buffers]], params: Params, places: Places
) -> tuple[Tensor, Params, Buffers]:
    def at(point: Params) -> tuple[Tensor, tuple[Tensor, Buffers]]:
        losses, updated = of_all(point)
        return losses.sum(), (losses, updated)

    # kept over the backward pass too: checkpointed parts run forward again in it
    with places.kept():
        _, (losses, updated), gradients = by_autograd(at, params)
    return losses.detach(), gradients, {name: tensor.detach() for name, tensor in updated.items()}

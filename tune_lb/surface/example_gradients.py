"""Gradients of single examples: their sums with any weights, their slopes along a direction, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tune_lb.surface.loss_surface import LossSurface
from tune_lb.surface.products import by_differences


def weighted_gradient(surface: LossSurface, weights: Tensor) -> Tensor:
    """Return sum_i weights_i g_i (n,), g_i the gradient of example i's loss; weights (N,). Cost: one gradient."""
    parts = iter(torch.split(weights.to(surface.device, surface.dtype), surface.chunk))

    def weighted(leaves: Sequence[Tensor], losses: Tensor) -> Tensor:
        return _gradient(leaves, losses, next(parts))

    return torch.stack(surface.examples(weighted)).sum(0)


def slopes(surface: LossSurface, direction: Tensor) -> Tensor:
    """Return g_i^T direction of every example (N,); direction (n,). Cost: about one Hessian-vector product.

    sum_i u_i (g_i^T d) is linear in u, so that its gradient by u is what is asked for: reverse mode twice. Where the network has
    no right second derivative, by central differences of the losses.
    """
    if surface.products() == "differences":
        return by_differences(lambda at: torch.cat(surface.examples(_detached, point=at)), surface.point, direction)
    along = list(surface.unflatten(direction).values())

    def of_chunk(leaves: Sequence[Tensor], losses: Tensor) -> Tensor:
        if not losses.requires_grad:
            return torch.zeros_like(losses)
        u = torch.ones_like(losses).requires_grad_()
        gradients = torch.autograd.grad(losses @ u, leaves, create_graph=True, materialize_grads=True)
        slope = torch.stack([(g * d).sum() for g, d in zip(gradients, along, strict=True)]).sum()
        (found,) = torch.autograd.grad(slope, u, materialize_grads=True)
        return found.detach()

    return torch.cat(surface.examples(of_chunk))


def covariance_product(surface: LossSurface, vector: Tensor) -> Tensor:
    """Return C v (n,), C = (1/N) sum_i (g_i - g)(g_i - g)^T with g the mean. Cost: about 3 gradients."""
    along = slopes(surface, vector)
    return weighted_gradient(surface, (along - along.mean()) / len(along))


def each_gradient(surface: LossSurface, of_one: Callable[[Tensor], Tensor]) -> Tensor:
    """Return of_one(g_i) of every example, stacked: (N, ...).

    Cost: N backward passes, of one example each; where batch norm takes the chunk's statistics, of the whole chunk.
    """

    def of_chunk(leaves: Sequence[Tensor], losses: Tensor) -> Tensor:
        kept = len(losses) > 1
        return torch.stack([of_one(_gradient(leaves, loss, torch.ones_like(loss), kept)) for loss in losses])

    return torch.cat(surface.examples(of_chunk, chunk=None if surface.batch_norm == "batch" else 1))


def _detached(leaves: Sequence[Tensor], losses: Tensor) -> Tensor:
    return losses.detach()


def _gradient(leaves: Sequence[Tensor], losses: Tensor, weights: Tensor, retain_graph: bool = False) -> Tensor:
    if not losses.requires_grad:
        return torch.cat([torch.zeros_like(leaf).reshape(-1) for leaf in leaves])
    found = torch.autograd.grad(losses, leaves, weights, retain_graph=retain_graph, materialize_grads=True)
    return torch.cat([part.reshape(-1) for part in found]).detach()

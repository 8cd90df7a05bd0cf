"""lambda_max and the trace of a Hessian in float64, by ways that share no code with what is measured."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

LOSS = nn.CrossEntropyLoss()


@dataclass(frozen=True)
class Network:
    """A trained network and the examples that it is measured on."""

    module: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All are trainable."""
        return list(self.module.parameters())

    def gradient(self) -> object:
        """Return the gradient of the mean loss, as any training step makes it."""
        return torch.autograd.grad(LOSS(self.module(self.inputs), self.targets), self.parameters)


def exact_lambda_max(network: Network) -> float:
    """Return the largest eigenvalue, by ARPACK in float64, reverse over reverse on one graph."""
    module = as_float64(network)
    gradients = torch.autograd.grad(
        LOSS(module(network.inputs.double()), network.targets), list(module.parameters()), create_graph=True
    )
    flat = torch.cat([gradient.flatten() for gradient in gradients])

    def product(vector: Any) -> Any:
        parts = torch.autograd.grad(
            flat, list(module.parameters()), torch.from_numpy(vector).reshape(-1), retain_graph=True
        )
        return torch.cat([part.flatten() for part in parts]).numpy()

    operator = LinearOperator((len(flat), len(flat)), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(len(flat))
    return float(eigsh(operator, k=1, which="LA", tol=1e-8, v0=start, return_eigenvectors=False)[0])


def exact_trace(network: Network) -> float:
    """Return the trace of the Hessian in float64 (see above), gradients of single examples layer by layer."""
    module, seen = as_float64(network), []
    layers = [layer for layer in module.modules() if list(layer.parameters(recurse=False))]
    hooks = [
        layer.register_forward_hook(lambda layer, given, out: seen.append((layer, given[0], out))) for layer in layers
    ]
    logits = module(network.inputs.double())
    for hook in hooks:
        hook.remove()
    total = torch.zeros((), dtype=torch.float64)
    for label in range(logits.shape[1]):
        losses = F.cross_entropy(logits, torch.full_like(network.targets, label), reduction="none")
        upstream = torch.autograd.grad(losses.sum(), [out for _, _, out in seen], retain_graph=True)
        squares = sum(
            (
                squared_norms(layer, given.detach(), delta)
                for (layer, given, _), delta in zip(seen, upstream, strict=True)
            ),
            torch.zeros_like(losses),
        )
        total += (logits.softmax(1)[:, label] * squares).sum().detach()
    return float(total) / len(network.targets)


def squared_norms(layer: nn.Module, given: Tensor, delta: Tensor) -> Tensor:
    """Return the squared norm of the gradient by a layer's parameters of each example (B,); delta: by the layer's outputs."""
    if isinstance(layer, nn.Linear):
        found = given.square().sum(1) * delta.square().sum(1)
        return found if layer.bias is None else found + delta.square().sum(1)
    if isinstance(layer, nn.BatchNorm1d):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        normalized = (given - layer.running_mean) / (layer.running_var + layer.eps).sqrt()
        return (delta * normalized).square().sum(1) + delta.square().sum(1)
    assert isinstance(layer, nn.Conv2d)
    columns = F.unfold(given, layer.kernel_size, padding=layer.padding, stride=layer.stride)
    weight = torch.einsum("bol,bkl->bok", delta.flatten(2), columns)
    return weight.square().sum((1, 2)) + delta.flatten(2).sum(2).square().sum(1)


def as_float64(network: Network) -> nn.Module:
    """Return a copy of the network in float64."""
    return copy.deepcopy(network.module).double()

"""Loss surfaces with known answers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tune_lb.surface.loss_surface import LossSurface


class Quadratic(nn.Module):
    """The same loss c + b^T w + w^T H w / 2 for every example, whatever the input."""

    def __init__(self, H: Tensor, b: Tensor, w: Tensor, c: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(w.clone())
        self.register_buffer("H", H)
        self.register_buffer("b", b)
        self.c = c

    def forward(self, inputs: Tensor) -> Tensor:
        w = self.weight
        return (self.c + self.b @ w + w @ (self.H @ w) / 2).expand(len(inputs))


def first(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def quadratic(
    H: Tensor, b: Tensor | None = None, w: Tensor | None = None, c: float = 0.0, **options: Any
) -> LossSurface:
    """Return the surface of a quadratic, float64 unless H is not; at w = 0 and b = 0 unless given."""
    zero = torch.zeros(len(H), dtype=H.dtype)
    module = Quadratic(H, zero if b is None else b, zero if w is None else w, c)
    return surface(module, torch.zeros(3, 1), torch.zeros(3), loss=first, **options)


def surface(
    module: nn.Module, inputs: Tensor, targets: Tensor, *, loss: Any = cross_entropy, **options: Any
) -> LossSurface:
    return LossSurface(
        module, dict(module.named_parameters()), dict(module.named_buffers()), loss, inputs, targets, **options
    )


def network(seed: int = 0) -> nn.Sequential:
    """Return a float64 network of 99 parameters with batch norm, its statistics as after some training."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    nn.init.uniform_(net[1].running_mean, -0.5, 0.5)
    nn.init.uniform_(net[1].running_var, 0.5, 2)
    return net


def data(num_samples: int = 10, seed: int = 1) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num_samples, 6, generator=draws, dtype=torch.float64)
    return inputs, torch.randint(3, (num_samples,), generator=draws)


def reference_loss(net: nn.Sequential, flat: Tensor, inputs: Tensor, targets: Tensor, batch_norm: str) -> Tensor:
    """Return the mean cross entropy of network() at a flat point, written out without any module."""
    W1, b1, scale, shift, W2, b2 = flat.split([48, 8, 8, 8, 24, 3])
    h = inputs @ W1.view(8, 6).T + b1
    mean, var = (
        (h.mean(0), h.var(0, unbiased=False)) if batch_norm == "batch" else (net[1].running_mean, net[1].running_var)
    )
    h = torch.tanh((h - mean) / torch.sqrt(var + 1e-5) * scale + shift)
    scores = h @ W2.view(3, 8).T + b2
    return (torch.logsumexp(scores, 1) - scores.gather(1, targets[:, None])[:, 0]).mean()


def dense_hessian(f: Any, flat: Tensor) -> Tensor:
    """Return the Hessian, reverse over reverse: the forward mode of torch.func.hessian warns in torch 2.15."""
    return torch.func.jacrev(torch.func.grad(f))(flat)


class Partial(nn.Module):
    """Three parameters: one used, one frozen, one unused."""

    def __init__(self):
        super().__init__()
        self.used = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.frozen = nn.Parameter(torch.tensor([3.0, 4.0]), requires_grad=False)
        self.unused = nn.Parameter(torch.tensor([[5.0]]))

    def forward(self, inputs):
        return inputs @ (self.used**2 * self.frozen)

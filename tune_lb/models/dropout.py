"""Dropout whose mask is a function of a key: the same alone, among other members, on every device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torchvision.ops import StochasticDepth

LOW_32 = (1 << 32) - 1

DRAWN: dict[type[nn.Module], int | None] = {nn.Dropout: None, nn.Dropout1d: 2, nn.Dropout2d: 2, nn.Dropout3d: 2}
"""Leading dimensions that torch's kinds draw for: all, or (example, channel)."""


class KeyedDropout(_DropoutNd):
    """Dropout with the mask computed from keys that training gives, in place of a generator's next numbers.

    y = x * keep / (1 - p), keep[i, u] = (hash(key_i, layer, u) >= 2^32 p), u the position inside example i. Evaluation mode
    is the identity. No state moves: two passes with the same keys (SAM's) have the same mask, a member trained alone or
    stacked with others (`torch.func.vmap`) too, and the pieces of a batch have the masks of its examples.

    The contract: before each forward pass in training mode, the buffer `dropout_key` of every such layer is given (through
    functional_call) one and the same int64 tensor (B,) of fresh random numbers, uniform over at least 62 bits, one key for
    each example. A single key of shape () also does: example i then gets hash(key, i), i its place in what is passed. With
    the empty tensor (0,), its value after construction, the layer is torch's own dropout, drawn from the global generator:
    so the network also trains in an ordinary loop.

    p: probability of a zero, 0 (none) .. 1. layer: number that tells the layers of a network apart (see `keyed`).
    drawn: leading dimensions of x that have a draw of their own; None for all (1: whole examples, 2: whole channels).
    Hash: two rounds of a 32-bit finalizer (Wellons, 2018, "prospecting for hash functions": bias 0.11) in int64, without
    overflow. Cost: about 20 integer operations for each unit.
    """

    dropout_key: Tensor

    def __init__(self, p: float = 0.5, layer: int = 0, drawn: int | None = None) -> None:
        super().__init__(p)
        self.layer, self.drawn = layer, drawn
        self.register_buffer("dropout_key", torch.empty(0, dtype=torch.int64), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Drop units of (B, ...)."""
        if not self.training or self.p == 0.0:
            return input
        leading = input.dim() if self.drawn is None else self.drawn
        drawn, rest = input.shape[:leading], (1,) * (input.dim() - leading)
        if self.dropout_key.dim() == 1 and self.dropout_key.shape[0] == 0:
            keep = torch.rand(drawn, dtype=torch.float32, device=input.device) >= self.p
        else:
            keep = keep_mask(self.dropout_key, drawn, self.p, self.layer)
        scale = 1.0 / (1.0 - self.p) if self.p < 1.0 else 0.0
        return input * (keep.to(input.dtype) * scale).reshape(*drawn, *rest)

    def extra_repr(self) -> str:
        """Return p and layer."""
        return f"p={self.p}, layer={self.layer}, drawn={self.drawn}"


def keep_mask(key: Tensor, shape: torch.Size, p: float, layer: int) -> Tensor:
    """Return which units of (B, ...) are kept, each with probability 1 - p to within 2^-32. key: int64, (B,) or ()."""
    num_examples, units = shape[0], shape[1:].numel()
    low, high = key & LOW_32, (key >> 32) & LOW_32
    if key.dim() == 0:
        position = torch.arange(num_examples, device=key.device)
        low, high = _hashed(position ^ low), _hashed((position + high) & LOW_32)
    unit = torch.arange(units, device=key.device)
    start, salt = _hashed(low), _hashed((high + layer) & LOW_32)
    mixed = _hashed((_hashed((unit + start[:, None]) & LOW_32) + salt[:, None]) & LOW_32)
    return (mixed >= round(p * (1 << 32))).reshape(shape)


def _hashed(x: Tensor) -> Tensor:
    """Return a bijection of 32-bit numbers; both factors are below 2^31, so that no product leaves int64."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & LOW_32
    x = ((x ^ (x >> 15)) * 0x735A2D97) & LOW_32
    return x ^ (x >> 15)


def keyed(module: nn.Module) -> nn.Module:
    """Put KeyedDropout in place of every torch dropout and stochastic depth of a network, numbered in module order.

    Parameters and their names stay as they are. torch.func cannot vectorise the originals, or would share their masks. A layer
    that a network calls twice in one pass has the same mask twice: give it two.
    """
    layer = 0
    for parent in module.modules():
        for name, child in parent._modules.items():
            by_row = isinstance(child, StochasticDepth) and child.mode == "row"
            if child is not None and (by_row or type(child) in DRAWN):
                replacement = KeyedDropout(getattr(child, "p", 0.0), layer, 1 if by_row else DRAWN[type(child)])
                setattr(parent, name, replacement.train(child.training))
                layer += 1
    return module

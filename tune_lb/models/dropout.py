"""Dropout whose mask is a function of a key: the same alone, among other members, on every device."""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

LOW_32 = (1 << 32) - 1

DRAWN: dict[type[nn.Module], int | None] = {
    nn.Dropout: None,
    nn.Dropout1d: 2,
    nn.Dropout2d: 2,
    nn.Dropout3d: 2,
    nn.AlphaDropout: None,
    nn.FeatureAlphaDropout: 2,
}
"""Leading dimensions that torch's kinds draw for: all, or (example, channel)."""

SATURATION = -1.7580993408473766
"""What alpha dropout puts in place of a unit: SELU's limit at minus infinity (Klambauer and others, 2017, section 3)."""

NEXT_USE = 0x3C6EF35F
"""Added to a layer's number at every further use of it in one forward pass, so that each has a mask of its own."""


class KeyedDropout(_DropoutNd):
    """Dropout with the mask computed from keys that training gives, in place of a generator's next numbers.

    y = x * keep / (1 - p), keep[i, u] = (hash(key_i, layer, u) >= 2^32 p), u the position inside example i. Evaluation mode
    is the identity. No state moves: two passes with the same keys (SAM's) have the same mask, a member trained alone or
    stacked with others (`torch.func.vmap`) too, and the pieces of a batch have the masks of its examples.

    The contract: before each forward pass in training mode, the buffer `dropout_key` of every such layer is given (through
    functional_call) one and the same int64 tensor (B,) of fresh random numbers, uniform over at least 62 bits, one key for
    each example. A single key of shape () also does: example i then gets hash(key, i), i its place in what is passed; so it does
    where the first dimension of what is passed does not count the examples. With the empty tensor (0,), its value after
    construction, the layer draws from the global generator as torch's own: so the network also trains in an ordinary loop.

    p: probability of a zero, 0 (none) .. 1. layer: number that tells the layers of a network apart (see `keyed`).
    drawn: leading dimensions of x that have a draw of their own; None for all (1: whole examples, 2: whole channels).
    alpha: nn.AlphaDropout's: a unit goes to SATURATION, then a x + b keeps mean 0 and variance 1. inplace: x is written into.
    Hash: two rounds of a 32-bit finalizer (Wellons, 2018, "prospecting for hash functions": bias 0.11) in int64, without
    overflow. Cost: about 20 integer operations for each unit.
    """

    dropout_key: Tensor

    def __init__(
        self,
        p: float = 0.5,
        layer: int = 0,
        drawn: int | None = None,
        *,
        alpha: bool = False,
        inplace: bool = False,
    ) -> None:
        super().__init__(p, inplace)
        self.layer, self.drawn, self.alpha = layer, drawn, alpha
        self.uses: int | None = None
        """Uses in the forward pass that runs, where a network counts them (see `keyed`)."""
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
            key = self.dropout_key
            key = key if key.dim() == 0 or key.shape[0] == input.shape[0] else key[0]
            keep = keep_mask(key, drawn, self.p, self.layer + NEXT_USE * self._use())
        kept = keep.to(input.dtype).reshape(*drawn, *rest)
        if self.alpha:
            scale = ((1.0 - self.p) * (1.0 + self.p * SATURATION**2)) ** -0.5 if self.p < 1.0 else 0.0
            return (input * kept + SATURATION * (1.0 - kept)) * scale - scale * SATURATION * self.p
        scale = 1.0 / (1.0 - self.p) if self.p < 1.0 else 0.0
        return input.mul_(kept * scale) if self.inplace else input * (kept * scale)

    def _use(self) -> int:
        """Return how many uses of the layer came before in this forward pass."""
        if self.uses is None:
            return 0
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
            # a backward pass makes the activations anew, in an order that is not that of the forward pass
            if self.uses > 1:
                raise RuntimeError(
                    "one dropout layer is used more than once under checkpointing: give each use its own"
                )
            return 0
        self.uses += 1
        return self.uses - 1

    def extra_repr(self) -> str:
        """Return p and layer."""
        return f"p={self.p}, layer={self.layer}, drawn={self.drawn}"


def keep_mask(key: Tensor, shape: torch.Size, p: float, layer: int) -> Tensor:
    """Return which units of (B, ...) are kept, each with probability 1 - p to within 2^-32. key: int64, (B,) or ()."""
    return _numbers(key, shape, layer) >= round(p * (1 << 32))


def keyed_normal(key: Tensor, shape: torch.Size, layer: int) -> Tensor:
    """Return a standard normal number for each unit of (B, ...), float32, a function of key and layer as keep_mask is.

    n = sqrt(-2 log u) cos(2 pi v), u and v uniform in steps of 2^-32 (Box and Muller, 1958). Cost: two hashes for each unit.
    """
    u, v = ((_numbers(key, shape, 2 * layer + i).to(torch.float64) + 0.5) / (1 << 32) for i in (0, 1))
    normal: Tensor = (-2.0 * u.log()).sqrt() * (2.0 * math.pi * v).cos()
    return normal.to(torch.float32)


def _numbers(key: Tensor, shape: torch.Size, layer: int) -> Tensor:
    """Return a number of 32 bits for each unit of (B, ...), int64."""
    num_examples, units = shape[0], shape[1:].numel()
    low, high = key & LOW_32, (key >> 32) & LOW_32
    if key.dim() == 0:
        position = torch.arange(num_examples, device=key.device)
        low, high = _hashed(position ^ low), _hashed((position + high) & LOW_32)
    unit = torch.arange(units, device=key.device)
    start, salt = _hashed(low), _hashed((high + layer) & LOW_32)
    mixed = _hashed((_hashed((unit + start[:, None]) & LOW_32) + salt[:, None]) & LOW_32)
    return mixed.reshape(shape)


def _hashed(x: Tensor) -> Tensor:
    """Return a bijection of 32-bit numbers; both factors are below 2^31, so that no product leaves int64."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & LOW_32
    x = ((x ^ (x >> 15)) * 0x735A2D97) & LOW_32
    return x ^ (x >> 15)


def keyed(module: nn.Module) -> nn.Module:
    """Put KeyedDropout in place of torch's dropout layers and stochastic depth (by row) in a network, in module order.

    Parameters and their names stay as they are. torch.func cannot vectorise the originals, or would share their masks. A layer that
    stands in two places is replaced by one; a layer that one pass uses several times has a mask for each use. Left as they are:
    classes of one's own with a `forward` of their own, and what draws inside another layer (nn.LSTM, nn.MultiheadAttention).
    """
    own = [part for part in module.modules() if isinstance(part, KeyedDropout)]
    layer = max((part.layer for part in own), default=-1) + 1
    replaced: dict[int, KeyedDropout] = {}
    for parent in module.modules():
        for name, child in parent._modules.items():
            if child is None or _kind(child) is None:
                continue
            if id(child) not in replaced:
                replaced[id(child)] = _keyed_twin(child, layer).train(child.training)
                layer += 1
            setattr(parent, name, replaced[id(child)])
    if (own or replaced) and _count_uses not in module._forward_pre_hooks.values():
        module.register_forward_pre_hook(_count_uses)
    return module


def _keyed_twin(child: nn.Module, layer: int) -> KeyedDropout:
    kind = _kind(child)
    drawn = 1 if kind is None else DRAWN.get(kind, 1)
    alpha = kind in (nn.AlphaDropout, nn.FeatureAlphaDropout)
    inplace = bool(getattr(child, "inplace", False)) and not alpha
    return KeyedDropout(getattr(child, "p", 0.0), layer, drawn, alpha=alpha, inplace=inplace)


def _kind(child: nn.Module) -> type[nn.Module] | None:
    """Return which of torch's layers a layer is: also one of a class of one's own that does not change the forward pass."""
    for kind in DRAWN:
        if isinstance(child, kind) and type(child).forward is kind.forward:
            return kind
    # not imported for networks that do not use it: it takes a second
    ops = sys.modules.get("torchvision.ops")
    depth = getattr(ops, "StochasticDepth", None)
    return depth if depth is not None and isinstance(child, depth) and child.mode == "row" else None


def _count_uses(module: nn.Module, _: object) -> None:
    for part in module.modules():
        if isinstance(part, KeyedDropout):
            part.uses = 0

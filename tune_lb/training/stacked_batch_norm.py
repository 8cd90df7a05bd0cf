"""Batch normalization of stacked members in one call of the kernel: their channels stand side by side, (B, members x C, ...)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

OF_MEMBERS = "of_members"
"""Attribute of a layer that normalises stacked members at once."""

LARGE = 2**15
"""Numbers of a member from which one call of all is faster (a fifth of a step of 16 members); below it the call costs more."""


def normalizing_members_at_once(module: nn.Module) -> nn.Module:
    """Let every batch norm of the module normalise all members in one call where it runs under torch.func.vmap.

    vmap's own way makes the affine part operations of their own and takes up to 15 times as long. For forward passes that are
    vectorised and then differentiated by plain autograd (stacked_gradient.py); torch.func.grad does not go through it. The
    module is changed in place.
    """
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.__dict__[OF_MEMBERS] = True
        for plain, stacked in ((nn.BatchNorm1d, StackedBatchNorm1d), (nn.BatchNorm2d, StackedBatchNorm2d)):
            if type(part) is plain and part.momentum is not None:
                part.__class__ = stacked
    return module


def batch_norm(layer: _BatchNorm, *arguments: Any) -> Tensor:
    """Return F.batch_norm in training mode: of x, running mean and variance, changed in place, weight, bias, momentum."""
    of_members = layer.__dict__.get(OF_MEMBERS, False) and arguments[0].numel() >= LARGE
    call: Callable[..., Tensor] = _BatchNormOfMembers.apply if of_members else _plain
    return call(*arguments, layer.eps)


def _plain(*arguments: Any) -> Tensor:
    x, mean, variance, weight, bias, momentum, eps = arguments
    return F.batch_norm(x, mean, variance, weight, bias, True, momentum, eps)


class _BatchNormOfMembers(torch.autograd.Function):
    """Batch norm as one operation, so that torch.func.vmap asks for that of all members at once."""

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return _plain(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: the one call of all members is differentiated, not this."""

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], *arguments: Any) -> tuple[Tensor, int]:
        """Return the outputs of all members (members, B, C, ...), whose running statistics are changed in place."""
        number: int = info.batch_size
        tensors = [
            None if value is None else _members_first(value, dim, number)
            for value, dim in zip(arguments[:-2], in_dims, strict=False)
        ]
        x, of_channels = tensors[0], tensors[1:]
        if x is None:
            raise TypeError("batch norm of nothing")
        flat = [None if value is None else value.reshape(-1) for value in of_channels]
        joined = x.transpose(0, 1).reshape(x.shape[1], number * x.shape[2], *x.shape[3:])
        y = _plain(joined, *flat, *arguments[-2:])
        for value, written in zip(of_channels[:2], flat, strict=False):
            if value is not None and written is not None and value.data_ptr() != written.data_ptr():
                value.copy_(written.view_as(value))
        # members first in memory too: what follows would else meet gradients of another layout
        return y.view(x.shape[1], number, *x.shape[2:]).transpose(0, 1).contiguous(), 0


def _members_first(value: Tensor, dim: int | None, number: int) -> Tensor:
    return value.expand(number, *value.shape) if dim is None else value.movedim(dim, 0)


class _Stacked(_BatchNorm):
    def forward(self, input: Tensor) -> Tensor:
        """Normalise as torch's own."""
        if not self.training or input.numel() < LARGE:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        statistics = (self.running_mean, self.running_var) if self.track_running_stats else (None, None)
        return batch_norm(self, input, *statistics, self.weight, self.bias, self.momentum)


class StackedBatchNorm1d(_Stacked, nn.BatchNorm1d):
    """BatchNorm1d of stacked members."""


class StackedBatchNorm2d(_Stacked, nn.BatchNorm2d):
    """BatchNorm2d of stacked members."""

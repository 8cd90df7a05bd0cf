"""Evaluation: losses and errors of a trained member on clean parts of the data, after batch norm is brought up to date."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tune_lb.data.device import Examples
from tune_lb.losses import LossFn
from tune_lb.surface.evaluation_mode import apart, chunk_size, measuring
from tune_lb.surface.evaluation_mode import recalibrated as recalibrated_over
from tune_lb.training.gradient import Buffers, Params
from tune_lb.trees import cast


class Quality(NamedTuple):
    """Mean loss (nats), error (share of examples misclassified) and predicted classes on one part."""

    loss: float
    error: float
    predictions: Tensor


def recalibrated(module: nn.Module, params: Params, buffers: Buffers, train: Examples) -> Buffers:
    """Return the buffers with batch-norm statistics recomputed over the clean train set, in one pass.

    After few updates the running averages lag behind the weights; the error then moves by a point and lambda_max up to 30
    times. See `recalibrated` in tune_lb/surface/evaluation_mode.py; the chunks are equal.
    """
    dtype = next(iter(params.values())).dtype
    chunks = _chunks(len(train.targets), chunk_size(train.inputs))
    inputs = (apart(cast(train.standardized(slice(*chunk)), dtype), train.inputs) for chunk in chunks)
    return recalibrated_over(module, params, buffers, inputs)


def quality(module: nn.Module, params: Params, buffers: Buffers, loss: LossFn, part: Examples) -> Quality:
    """Return loss, error and predictions on a part, in evaluation mode; the module is left in the mode it was in."""
    # one tensor for all: small ones that stay between the large ones of the chunks keep the allocator from using theirs again
    total, classes = 0.0, torch.empty(part.targets.shape, dtype=torch.int64, device=part.device)
    with torch.no_grad(), measuring(module, part.device, batch_statistics=False):
        for start, stop in _chunks(len(part.targets), chunk_size(part.inputs)):
            inputs = cast(part.standardized(slice(start, stop)), next(iter(params.values())).dtype)
            outputs = torch.func.functional_call(module, (params, buffers), (apart(inputs, part.inputs),))
            total += float(loss(outputs, part.targets[start:stop]).sum())
            classes[start:stop] = outputs.argmax(-1)
    num_errors = int((classes != part.targets).sum())
    return Quality(total / len(part.targets), num_errors / len(part.targets), classes)


def _chunks(length: int, size: int) -> list[tuple[int, int]]:
    # equal chunks: a last chunk of one example would have no variance
    num_chunks = -(-length // size)
    return list(itertools.pairwise(length * i // num_chunks for i in range(num_chunks + 1)))

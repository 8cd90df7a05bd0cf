"""Evaluation: losses and errors of a trained member on clean parts of the data, after batch norm is brought up to date."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tune_lb.data.device import Examples, Parts
from tune_lb.losses import LabelSmoothedCrossEntropy, LossFn, cross_entropy
from tune_lb.prediction_errors import PredictionError, error_for
from tune_lb.surface.evaluation_mode import apart, chunk_size, measuring
from tune_lb.surface.evaluation_mode import recalibrated as recalibrated_over
from tune_lb.training.gradient import Buffers, Params
from tune_lb.trees import cast


class Quality(NamedTuple):
    """Mean loss (nats), error (see tune_lb.prediction_errors), and predicted classes where targets are classes, on one part.

    soft_error: mean of 1 - p(target), in [0, 1]; None where it was not asked for, and where outputs are no class probabilities.
    """

    loss: float
    error: float
    predictions: Tensor | None
    soft_error: float | None = None


def recalibrated(module: nn.Module, params: Params, buffers: Buffers, train: Examples) -> Buffers:
    """Return the buffers with batch-norm statistics recomputed over the clean train set, in one pass.

    After few updates the running averages lag behind the weights; the error then moves by a point and lambda_max up to 30
    times. See `recalibrated` in tune_lb/surface/evaluation_mode.py; the chunks are equal.
    """
    dtype = next(iter(params.values())).dtype
    chunks = _chunks(len(train), chunk_size(train.all_inputs, len(train)))
    inputs = (apart(cast(train.standardized(slice(*chunk)), dtype), train.all_inputs) for chunk in chunks)
    return recalibrated_over(module, params, buffers, inputs)


def quality(
    module: nn.Module,
    params: Params,
    buffers: Buffers,
    loss: LossFn,
    part: Examples,
    error: PredictionError | None = None,
    *,
    soft: bool = False,
) -> Quality:
    """Return loss, error and predictions on a part, in evaluation mode; the module is left in the mode it was in.

    error: what is counted; None: what is usual for the kind of targets. soft: whether the soft error is taken as well.
    """
    all_targets = part.targets
    error = error_for(error, all_targets)
    classes = all_targets.ndim == 1 and not all_targets.is_floating_point()
    # one tensor for all: small ones that stay between the large ones of the chunks keep the allocator from using theirs again
    total, missed, predicted = 0.0, 0.0, torch.empty(len(part), dtype=torch.int64, device=part.device)
    counts: Tensor | None = None
    with torch.no_grad(), measuring(module, part.device, batch_statistics=False):
        for start, stop in _chunks(len(part), chunk_size(part.all_inputs, len(part))):
            dtype = next(iter(params.values())).dtype
            inputs, targets = cast((part.standardized(slice(start, stop)), all_targets[start:stop]), dtype)
            outputs = torch.func.functional_call(module, (params, buffers), (apart(inputs, part.all_inputs),))
            losses = loss(outputs, targets)
            total += float(losses.sum())
            soft = soft and classes and _are_logits(loss, outputs, targets, losses)
            if soft:
                missed += float((1.0 - torch.softmax(outputs, -1).gather(-1, targets.unsqueeze(-1))).sum())
            own = error.counts(outputs, targets)
            counts = own if counts is None else counts.add_(own)
            if classes:
                predicted[start:stop] = outputs.argmax(-1)
    value = float("nan") if counts is None else error.value(counts)
    return Quality(total / len(part), value, predicted if classes else None, missed / len(part) if soft else None)


def _are_logits(loss: LossFn, outputs: Tensor, targets: Tensor, losses: Tensor) -> bool:
    """Say whether outputs (B, K) are logits of K classes: the loss is cross entropy, whoever wrote it, or its softened form."""
    if outputs.ndim != 2 or outputs.shape[-1] < 2:
        return False
    return isinstance(loss, LabelSmoothedCrossEntropy) or torch.allclose(
        losses, cross_entropy(outputs, targets), rtol=1e-3, atol=1e-5
    )


def chance(parts: Parts, name: str, error: PredictionError | None) -> float:
    """Return the error that a diverged member counts for on a part: see PredictionError.chance."""
    targets: Tensor = getattr(parts, name).targets
    return error_for(error, targets).chance(parts.train.targets, targets, parts.num_classes)


def _chunks(length: int, size: int) -> list[tuple[int, int]]:
    # equal chunks: a last chunk of one example would have no variance
    num_chunks = -(-length // size)
    return list(itertools.pairwise(length * i // num_chunks for i in range(num_chunks + 1)))

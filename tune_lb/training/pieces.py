"""Pieces of a batch: which lengths are possible, gradients over them, and the variance of their gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tune_lb.training.gradient import OF_EXAMPLES, Batch, Buffers, GradientFn, Params, average
from tune_lb.training.remedy import Nesting, TrialFacts


def divisors(number: int) -> str:
    """Return the divisors as they stand in a message."""
    return "its divisors: " + ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)


def normalizes_by_batch(module: nn.Module) -> bool:
    """Say whether the network has batch normalization, to which a piece is a batch."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())


def piece_problems(name: str, size: int, trial: TrialFacts, module: nn.Module) -> list[str]:
    """Return why the trial's batch cannot be taken in pieces of so many examples. name: the column of the size."""
    own = name.partition(".")[0]
    found = []
    if trial.batch_size % size:
        found.append(f"{name} = {size} does not divide batch_size = {trial.batch_size}; {divisors(trial.batch_size)}")
    if size == 1 and normalizes_by_batch(module):
        found.append(f"{name} = 1: batch normalization needs at least two examples in a piece; take 2 or more")
    for remedy in trial.active:
        if remedy.nesting is Nesting.POINT and remedy.name != own:
            found += [
                f"{other} = {number} does not divide {name} = {size}; {divisors(size)}"
                for other, number in remedy.piece_sizes().items()
                if size % number
            ]
    return found


def over_pieces(gradient: GradientFn, piece_size: int | None) -> GradientFn:
    """Return the mean of a gradient function over the strided pieces of the batch, loss and buffers too; None: one piece."""
    if piece_size is None:
        return gradient

    def by_pieces(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
        num_pieces = batch.size // piece_size
        parts = [gradient(params, buffers, batch.piece(j, num_pieces)) for j in range(num_pieces)]
        losses, gradients, updated = zip(*parts, strict=True)
        return torch.stack(losses).mean(), average(list(gradients)), average(list(updated))

    return by_pieces


def over_microbatches(gradient: GradientFn, microbatch: int | None) -> GradientFn:
    """Return the mean gradient of a batch, taken from microbatches of so many examples one after another; None: all at once.

    g = (1/k) sum_j g_j over k = B / microbatch strided microbatches, each from the same parameters and buffers; a buffer moves by
    the mean of what they move it by. Inside every remedy: SAM's m, ghost groups and measured variances stay those of
    the whole batch. A batch of no more examples is taken whole. Cost: the same examples, the activations of one microbatch.
    Raises ValueError for a batch that they do not divide.
    """
    if microbatch is None:
        return gradient

    def by_microbatches(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
        size = batch.size
        if size <= microbatch:
            return gradient(params, buffers, batch)
        number, rest = divmod(size, microbatch)
        if rest:
            raise ValueError(f"microbatch = {microbatch} does not divide the {size} examples of a gradient")
        # sums and not lists: the gradients of all need not be there at once
        loss, means, moved = next(iter(params.values())).new_zeros(()), Params(), Params()
        of_examples: dict[str, list[Tensor]] = {}
        for j in range(number):
            own = [{name: _part(name, value, j, number) for name, value in tree.items()} for tree in (params, buffers)]
            own_loss, gradients, updated = gradient(own[0], own[1], batch.piece(j, number))
            loss = loss + own_loss / number
            for name, value in gradients.items():
                if name.endswith(OF_EXAMPLES):
                    of_examples.setdefault(name, []).append(value / number)
                else:
                    means[name] = means[name] + value / number if name in means else value / number
            for name, value in updated.items():
                if value.is_floating_point() and "/" not in name and not name.endswith(OF_EXAMPLES):
                    change = (value - buffers[name]) / number
                    moved[name] = moved[name] + change if name in moved else change
        # example i = j + k r is number r of microbatch j
        means |= {name: torch.stack(parts, 1).flatten(0, 1) for name, parts in of_examples.items()}
        merged = {name: buffers[name] + change for name, change in moved.items()}
        whole = {name: value for name, value in buffers.items() if name.endswith(OF_EXAMPLES)}
        return loss, {name: means[name] for name in params}, updated | merged | whole

    return by_microbatches


def _part(name: str, value: Tensor, index: int, num_parts: int) -> Tensor:
    return value[index::num_parts] if name.endswith(OF_EXAMPLES) else value


def gradient_variances(gradient: GradientFn, params: Params, buffers: Buffers, batch: Batch, piece_size: int) -> Params:
    """Return the unbiased variance of every entry of the gradient of piece_size examples, over disjoint pieces.

    v = sum_j (g_j - mean g)^2 / (K - 1) over K = B / piece_size strided pieces. The variance for one example is
    piece_size * v. Sums of squares about the running mean (Welford, 1962), so that three gradients are held at a time, whatever
    K is. Cost: one mean gradient, in K calls.
    """
    num_pieces = batch.size // piece_size
    means = dict(gradient(params, buffers, batch.piece(0, num_pieces))[1])
    squares = {name: torch.zeros_like(value) for name, value in means.items()}
    for j in range(1, num_pieces):
        piece = gradient(params, buffers, batch.piece(j, num_pieces))[1]
        for name in params:
            change = piece[name] - means[name]
            means[name] = means[name] + change / (j + 1)
            squares[name] = squares[name] + change * (piece[name] - means[name])
        del piece
    return {name: squares[name] / (num_pieces - 1) for name in params}


def normal_per_parameter(
    _: object, generator: torch.Generator, batch_size: int, num_parameters: int, like: Tensor
) -> Tensor:
    """Draw one standard normal number per parameter, shape (n,): the `draws` of remedies that add noise to the gradient."""
    return torch.randn(num_parameters, generator=generator, dtype=like.dtype, device=like.device)


def white_noise(draws: Tensor, like: Params) -> Params:
    """Return one draw (n,) of standard normal numbers in the shapes of a tree, entry by entry in its order."""
    parts = torch.split(draws, [value.numel() for value in like.values()])
    return {name: part.view_as(value) for (name, value), part in zip(like.items(), parts, strict=True)}

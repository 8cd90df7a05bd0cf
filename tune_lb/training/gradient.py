"""Gradient functions: what a training step differentiates, as pure functions of parameters, buffers and batch.

Everything here and in the remedies is written for one member. Several members are the same functions under
`torch.func.vmap`; nothing is changed in place except buffers that the function itself has cloned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tune_lb.losses import LossFn
from tune_lb.streams import seeded
from tune_lb.surface.swapped import Places
from tune_lb.training.precision import in_precision
from tune_lb.trees import mapped

Params = dict[str, Tensor]
Buffers = dict[str, Tensor]


class Batch(NamedTuple):
    """What one gradient evaluation sees: only tensors, so that the step can be vectorised and compiled.

    inputs: (B, ...), or a tuple or dict of such tensors (tune_lb.trees): floats, or whole numbers (tokens). targets: (B,), int64
    class; (B, ...) for sequences, several labels or real numbers. step: (), int64, the optimiser step counted from 0.
    draws: the random tensors that the active remedies asked for in this step, by the remedy's name.
    values: every searched number as a 0-dimensional tensor, by column name (`sam.rho`): a new value needs no new program.
    examples: what else belongs to each example, (B, ...), put there by the remedies' batch hooks; pieces take theirs. For a
    network with keyed dropout also `dropout_key`, from which every mask of the step is made.
    due: whether a remedy acts in this step, by the remedy's name, for those that do so in some steps only (`Remedy.due`).
    is_seeded: whether the network draws from global generators, which every forward pass then finds seeded by the keys.
    is_written: whether the network writes into its inputs, of which every forward pass then gets a copy.
    """

    inputs: Any
    targets: Tensor
    step: Tensor
    draws: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    examples: Mapping[str, Tensor] = {}
    due: Mapping[str, bool] = {}
    is_seeded: bool = False
    is_written: bool = False

    @property
    def size(self) -> int:
        """Return the number of examples."""
        return self.targets.shape[0]

    def piece(self, index: int, num_pieces: int) -> Batch:
        """Return every num_pieces-th example from `index` on.

        Strided, not contiguous: ghost group i mod S stays whole inside a piece when the ghost size divides its length.
        """
        return self._replace(
            inputs=mapped(lambda leaf: leaf[index::num_pieces], self.inputs),
            targets=self.targets[index::num_pieces],
            examples={name: value[index::num_pieces] for name, value in self.examples.items()},
        )


DROPOUT_KEY = "dropout_key"
"""Buffer of every layer of keyed dropout, and the entry of `Batch.examples` that it is given while training."""

OF_EXAMPLES = "_of_examples"
"""End of the name of a parameter or buffer that has a row for every example of the batch: a part of the batch takes its rows."""


TrainingLoss = Callable[[Tensor, Batch], Tensor]
"""(outputs (B, K), batch) -> loss of each example (B,): what training minimises. Remedies wrap it; their numbers are in
`batch.values`, their random draws in `batch.draws`."""

GradientFn = Callable[[Params, Buffers, Batch], tuple[Tensor, Params, Buffers]]
"""(params, buffers, batch) -> (mean loss (), gradient by parameter name, buffers after the step)."""

Objective = Callable[[Params], tuple[Tensor, Any]]
Differentiate = Callable[[Objective, Params], tuple[Tensor, Any, Params]]
MeanLoss = Callable[[Params, Buffers, Batch], tuple[Tensor, Buffers]]


def by_autograd(objective: Objective, params: Params) -> tuple[Tensor, Any, Params]:
    """Return loss, auxiliary value and gradient by ordinary reverse mode: the fastest eager way for one member."""
    with torch.enable_grad():
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        loss, auxiliary = objective(leaves)
        gradients = torch.autograd.grad(loss, tuple(leaves.values()), materialize_grads=True)
        gradients = tuple(value.to_dense() if value.is_sparse else value for value in gradients)
    return loss.detach(), auxiliary, dict(zip(leaves, gradients, strict=True))


def by_functorch(objective: Objective, params: Params) -> tuple[Tensor, Buffers, Params]:
    """Return the same through torch.func, which several members at once (vmap) need."""
    gradients, (loss, auxiliary) = torch.func.grad_and_value(objective, has_aux=True)(params)
    return loss, auxiliary, gradients


def on_targets(loss: LossFn) -> TrainingLoss:
    """Return the loss of the outputs against the batch's own targets."""

    def of_batch(outputs: Tensor, batch: Batch) -> Tensor:
        return loss(outputs, batch.targets)

    return of_batch


def mean_gradient(
    module: nn.Module, loss: TrainingLoss, differentiate: Differentiate, precision: str = "fp32"
) -> GradientFn:
    """Return the gradient of the batch's mean loss, module in the mode it is in.

    loss(w) = (1/B) sum_i l(f(x_i; w), y_i). Buffers are cloned before the forward pass, which may then update them in place
    (batch-norm statistics) or assign others; frozen parameters travel among them, and so does the state of remedies, under names
    with a stroke (`layer_noise/variances`), which the module does not see. precision: of the forward pass, see
    `in_precision`;
    the loss is computed in the parameters' own. Cost: one forward and one backward pass.
    """

    objective, places = mean_loss(module, loss, precision)

    def gradient(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
        def at(point: Params) -> tuple[Tensor, Buffers]:
            return objective(point, buffers, batch)

        # kept over the backward pass too: checkpointed parts run forward again in it
        with places.kept():
            value, updated, gradients = differentiate(at, params)
        return value, gradients, buffers | {name: tensor.detach() for name, tensor in updated.items()}

    return gradient


def mean_loss(module: nn.Module, loss: TrainingLoss, precision: str = "fp32") -> tuple[MeanLoss, Places]:
    """Return the mean loss of a batch, with the buffers after the forward pass; and the places of the module's tensors."""
    places = Places(module)
    call = in_precision(places.call, precision)

    def objective(point: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Buffers]:
        updated = {
            name: value.clone() for name, value in buffers.items() if "/" not in name and not name.endswith(DROPOUT_KEY)
        }
        keys = {name: batch.examples.get(DROPOUT_KEY, buffers[name]) for name in buffers if name.endswith(DROPOUT_KEY)}
        with seeding(batch):
            outputs = call(point | updated | keys, given_inputs(batch))
            # what the module has assigned stands there now, what it has written into is the clone
            updated |= places.at(updated)
            return loss(outputs, batch).mean(), updated

    return objective, places


def is_of_remedy(name: str) -> bool:
    """Say whether a buffer is the state of a remedy, which the module does not see."""
    return "/" in name


def given_inputs(batch: Batch) -> Any:
    """Return what a forward pass is given: the inputs, or a copy where the network would spoil them for the next one."""
    return mapped(torch.clone, batch.inputs) if batch.is_written else batch.inputs


def seeding(batch: Batch) -> AbstractContextManager[None]:
    """Return the block in which a forward pass draws from global generators: the same numbers for the same keys."""
    return seeded("forward", int(batch.examples[DROPOUT_KEY][0])) if batch.is_seeded else nullcontext()


MEMBERS_FIRST = Batch(0, 0, None, 0, None, 0, None, None, None)  # type: ignore[arg-type]
"""Which parts of the batch of stacked members have a leading member dimension, as torch.func.vmap's in_dims."""

MEMBERS_OF_MANY = MEMBERS_FIRST._replace(values=0)  # type: ignore[arg-type]
"""The same where members are of several trials: each has values of its own."""


def over_members(gradient: GradientFn, *, vectorize: bool, many: bool = False) -> GradientFn:
    """Return the gradient function of stacked members, whose tensors have a leading member dimension.

    vectorize: by torch.func.vmap. Without it the stack must hold one member, which costs a view of each tensor. many: whether
    every member has values of its own.
    """
    if vectorize:
        return torch.func.vmap(gradient, in_dims=(0, 0, MEMBERS_OF_MANY if many else MEMBERS_FIRST))

    def of_one(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
        only = batch._replace(
            inputs=mapped(lambda leaf: leaf[0], batch.inputs),
            targets=batch.targets[0],
            draws=_first(batch.draws),
            examples=_first(batch.examples),
        )
        loss, gradients, updated = gradient(_first(params), _first(buffers), only)
        return loss[None], {k: v[None] for k, v in gradients.items()}, {k: v[None] for k, v in updated.items()}

    return of_one


def stack(trees: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return trees of the same shapes as one, with a leading member dimension."""
    return {name: torch.stack([tree[name] for tree in trees]) for name in trees[0]}


def only(trees: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the one tree of a list, as `stack` does for many, without another dimension."""
    return trees[0]


def _first(tree: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value[0] for name, value in tree.items()}


def norm(tree: Params) -> Tensor:
    """Return the Euclidean norm over all tensors of the tree, shape ()."""
    return torch.stack([value.square().sum() for value in tree.values()]).sum().sqrt()


def average(trees: list[Params]) -> Params:
    """Return the mean of trees of the same shapes; counters (integers) and state of remedies are taken from the first."""
    first = trees[0]
    return {
        name: torch.stack([tree[name] for tree in trees]).mean(0)
        if value.is_floating_point() and "/" not in name
        else value
        for name, value in first.items()
    }

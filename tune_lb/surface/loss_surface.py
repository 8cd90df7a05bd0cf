"""The mean loss of a network over a whole data set, as a function of one flat vector of its trainable parameters."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from tune_lb.losses import LossFn
from tune_lb.surface.derivatives import Graph, flat, free_bytes, gradients
from tune_lb.surface.evaluation_mode import (
    check_batch_norm,
    check_names_and_shapes,
    checked_weights,
    chunk_size,
    float_dtype,
    measuring,
    recalibrated,
)
from tune_lb.surface.swapped import Places

BatchNormMode = Literal["running", "batch", "recalibrated"]


class LossSurface:
    """f(w) = sum_i c_i loss(module(x_i; w), y_i) / sum_i c_i, with its gradient and Hessian-vector products.

    The module serves as architecture only: values come from copies of params and buffers. Its parameters, buffers,
    train flags and .grad and the global random state are as before after every call, exceptions included. A parameter
    is trainable if the module's own parameter of that name requires a gradient; unused ones have zero gradient.

    params, buffers: one member's, with the names of module.named_parameters() and module.named_buffers().
    loss: (outputs (B, ...), targets (B, ...)) -> loss of each example (B,).
    inputs (N, ...), targets (N, ...): kept by reference.
    batch_norm: "running" normalises with the running statistics (evaluation mode); "recalibrated" with statistics
    recomputed over these data; "batch" with those of the chunk, so that the chunk is part of what is measured. The
    module's own statistics stay as they are, and dropout is off, in all three.
    transform: applied to each chunk of inputs (uint8 to normalised float, say).
    split: what the data are called in the protocol.
    chunk: examples in one forward pass; None takes all, or equal parts of at most MAX_CHUNK_ELEMENTS input elements.
    dtype: float32 or float64; None takes the parameters' own.
    weights: c_i (N,), not negative; None: all 1. A weight of 2 counts an example twice.

    Costs in gradient evaluations: value 0.3; a Hessian-vector product 1.3 to 2.2 where the graphs of all chunks fit in
    memory (reverse over reverse on graphs that are built once, 1 gradient, and kept until close), 2.4 to 3.0 otherwise.
    """

    def __init__(
        self,
        module: nn.Module,
        params: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        loss: LossFn,
        inputs: Tensor,
        targets: Tensor,
        *,
        batch_norm: BatchNormMode = "running",
        chunk: int | None = None,
        dtype: torch.dtype | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        split: str = "train",
        weights: Tensor | None = None,
    ) -> None:
        check_names_and_shapes("parameters", params, dict(module.named_parameters()))
        check_names_and_shapes("buffers", buffers, dict(module.named_buffers()))
        trainable = [name for name, own in module.named_parameters() if own.requires_grad]
        if not trainable:
            raise ValueError("the module has no trainable parameter: there is nothing to take a derivative by")
        if not len(inputs) or len(inputs) != len(targets):
            raise ValueError(
                f"{len(inputs)} inputs and {len(targets)} targets: give one target for each of at least one input"
            )
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk = {chunk}: give 1 or more examples, or None")

        self._module, self._loss, self._transform = module, loss, transform
        self._places = Places(module)
        self._inputs, self._targets = inputs, targets
        self.split = split
        self.batch_norm = batch_norm
        self.dtype = float_dtype([params[name].dtype for name in trainable], dtype)
        self.device = params[trainable[0]].device
        self.num_samples = len(inputs)
        self._asked_chunk = chunk
        self.chunk = chunk_size(inputs) if chunk is None else min(chunk, self.num_samples)
        if batch_norm not in get_args(BatchNormMode):
            raise ValueError(f"batch_norm = {batch_norm!r}: give 'running' or 'batch' or 'recalibrated'")
        check_batch_norm(module, batch_norm, smallest_chunk=self.num_samples % self.chunk or self.chunk)

        self._shapes = {name: params[name].shape for name in trainable}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self.num_parameters = sum(self._sizes)
        self._point = torch.cat([self._own(params[name]).reshape(-1) for name in trainable])
        self._frozen = {name: self._own(value) for name, value in params.items() if name not in self._shapes}
        self._buffers = {name: self._own(value) for name, value in buffers.items()}
        self._weights = None if weights is None else self._own(checked_weights(weights, self.num_samples))
        self._mass = float(self.num_samples if self._weights is None else self._weights.double().sum())
        self._finite_weights = all(bool(value.isfinite().all()) for value in [self._point, *self._frozen.values()])

        self.num_values = self.num_gradients = self.num_hvps = 0
        self._value: float | None = None
        self._gradient: Tensor | None = None
        self._graphs: list[Graph] = []
        if batch_norm == "recalibrated":
            values = {**self.unflatten(self._point), **self._frozen}
            self._buffers = recalibrated(module, values, self._buffers, (inputs for inputs, _ in self._chunks()))

    def __enter__(self) -> Self:
        """Return the surface; leaving the block closes it."""
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what is kept (graphs for Hessian-vector products, f at the weights); later calls make it again."""
        self._graphs, self._value, self._gradient = [], None, None

    @property
    def point(self) -> Tensor:
        """The weights as one flat vector, shape (num_parameters,): a copy."""
        return self._point.clone()

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Return views of a flat vector (num_parameters,) by parameter name, in the parameters' shapes."""
        parts = torch.split(self._vector(vector), self._sizes)
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def tensors(self) -> dict[str, Tensor]:
        """Return every parameter and buffer of the member by name: the surface's own, not to be written to."""
        return {**self.unflatten(self._point), **self._frozen, **self._buffers}

    def examples_at_once(self) -> tuple[Tensor, Tensor]:
        """Return network inputs and targets where all data are one chunk."""
        (pair,) = self._chunks()
        return pair

    def protocol(self) -> dict[str, str | int]:
        """Return what a number measured on this surface depends on: split, num_samples, batch_norm, dtype, chunk."""
        dtype = str(self.dtype).removeprefix("torch.")
        shared: dict[str, str | int] = {"split": self.split, "num_samples": self.num_samples}
        return {**shared, "batch_norm": self.batch_norm, "dtype": dtype, "chunk": self.chunk}

    def defect(self) -> str | None:
        """Say why nothing can be measured here (weights or loss not finite), else None. Cost: one value."""
        if not self._finite_weights:
            return "the weights are not finite"
        value = self.value()
        return None if math.isfinite(value) else f"the loss at the weights is {value}"

    def subset(self, num_samples: int) -> LossSurface:
        """Return the surface over a random subset, always the same one for as many examples out of as many."""
        if not 1 <= num_samples <= self.num_samples:
            raise ValueError(
                f"a subset of {num_samples} examples out of {self.num_samples}: give 1 to {self.num_samples}"
            )
        order = torch.randperm(self.num_samples, generator=torch.Generator().manual_seed(0))
        return self.part(order[:num_samples].sort().values)

    def part(self, index: Tensor) -> LossSurface:
        """Return the surface over the examples of an index (M,): same batch-norm statistics, weights and options."""
        own = LossSurface(
            self._module,
            {**self.unflatten(self._point), **self._frozen},
            self._buffers,
            self._loss,
            self._inputs[index.to(self._inputs.device)],
            self._targets[index.to(self._targets.device)],
            batch_norm="batch" if self.batch_norm == "batch" else "running",
            chunk=self._asked_chunk,
            dtype=self.dtype,
            transform=self._transform,
            split=self.split,
            weights=None if self._weights is None else self._weights[index.to(self.device)],
        )
        own.batch_norm = self.batch_norm
        return own

    def share_examples(self, other: LossSurface) -> None:
        """Refer to the examples of another surface, which are equal to its own, so that memory holds them once."""
        self._inputs, self._targets = other._inputs, other._targets

    def value(self, point: Tensor | None = None) -> float:
        """Return f at a flat point (num_parameters,), or at the weights; examples are summed in float64."""
        if point is None and self._value is not None:
            return self._value
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with self._stateless(), torch.no_grad():
            leaves = self._leaves(point)
            for pair, weights in self._weighted_chunks():
                total += _sum(self._losses(leaves, *pair).double(), weights)
        self.num_values += 1
        value = float(total) / self._mass
        if point is None:
            self._value = value
        return value

    def value_and_gradient(self, point: Tensor | None = None) -> tuple[float, Tensor]:
        """Return f and its gradient (num_parameters,) at a flat point, or at the weights (remembered)."""
        if point is None and self._value is not None and self._gradient is not None:
            return self._value, self._gradient.clone()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        gradient = torch.zeros_like(self._point)
        with self._stateless(), torch.enable_grad():
            leaves = self._leaves(point)
            for pair, weights in self._weighted_chunks():
                losses = self._losses(leaves, *pair)
                total += _sum(losses.detach().double(), weights)
                gradient += flat(gradients(_sum(losses, weights) / self._mass, leaves))
        self.num_gradients += 1
        value = float(total) / self._mass
        if point is None:
            self._value, self._gradient = value, gradient.clone()
        return value, gradient

    def hvp(self, vector: Tensor) -> Tensor:
        """Return H v (num_parameters,), H the Hessian of f at the weights: exact, no finite differences."""
        parts = list(self.unflatten(vector).values())
        product = torch.zeros_like(self._point)
        with self._stateless(), torch.enable_grad():
            pairs = ((graph, True) for graph in self._graphs) if self._graphs else self._new_graphs()
            for graph, kept in pairs:
                product += flat(graph.product(parts, retain_graph=kept))
        self.num_hvps += 1
        return product

    def examples(
        self, visit: Callable[[Sequence[Tensor], Tensor], Tensor], loss: LossFn | None = None, chunk: int | None = None
    ) -> list[Tensor]:
        """Return visit(leaves, losses (b,)) of each chunk in order: single losses with their graph, or another loss's."""
        with self._stateless(), torch.enable_grad():
            leaves = self._leaves(None)
            return [visit(leaves, self._losses(leaves, *pair, loss)) for pair in self._chunks(chunk)]

    def _new_graphs(self) -> Iterator[tuple[Graph, bool]]:
        """Yield the graph of each chunk and whether it is kept; where all are, f and its gradient are known as well."""
        num_chunks, keep = -(-self.num_samples // self.chunk), None
        leaves, kept, gradient = self._leaves(None), [], torch.zeros_like(self._point)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for pair, weights in self._weighted_chunks():
            losses = self._losses(leaves, *pair)
            mean = _sum(losses, weights) / self._mass
            graph = Graph(mean, leaves, functools.partial(self._places.put, self._tensors(leaves)))
            if keep is None:
                keep = num_chunks == 1 or graph.size_bytes() * num_chunks <= free_bytes(self.device)
            if keep:
                kept.append(graph)
                total += _sum(losses.detach().double(), weights)
                gradient += flat(graph.gradients)
            yield graph, keep
        if kept:
            self.num_gradients += 1
            self._graphs, self._value, self._gradient = kept, float(total) / self._mass, gradient

    @contextmanager
    def _stateless(self) -> Iterator[None]:
        with measuring(self._module, self.device, batch_statistics=self.batch_norm == "batch"), self._places.kept():
            yield

    def _tensors(self, leaves: Sequence[Tensor]) -> dict[str, Tensor]:
        # Buffers are cloned because batch norm writes into them in the "batch" mode.
        buffers = {name: value.clone() for name, value in self._buffers.items()}
        return {**dict(zip(self._shapes, leaves, strict=True)), **self._frozen, **buffers}

    def _chunks(self, chunk: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        size = chunk or self.chunk
        for inputs, targets in zip(torch.split(self._inputs, size), torch.split(self._targets, size), strict=True):
            yield (
                self._own(self._transform(inputs) if self._transform else inputs, copy=False),
                self._own(targets, copy=False),
            )

    def _weighted_chunks(self) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor | None]]:
        weights = itertools.repeat(None) if self._weights is None else torch.split(self._weights, self.chunk)
        return zip(self._chunks(), weights, strict=False)

    def _losses(self, leaves: Sequence[Tensor], inputs: Tensor, targets: Tensor, loss: LossFn | None = None) -> Tensor:
        losses: Tensor = (loss or self._loss)(self._places.call(self._tensors(leaves), inputs), targets)
        if losses.shape != (len(inputs),):
            raise ValueError(
                f"the loss returned shape {tuple(losses.shape)} for {len(inputs)} examples: give one number for each"
            )
        return losses

    def _leaves(self, point: Tensor | None) -> list[Tensor]:
        if point is None and not self._finite_weights:
            raise ValueError("the weights are not finite: there is no loss surface at a diverged member")
        views = self.unflatten(self._point if point is None else point).values()
        return [view.detach().requires_grad_(torch.is_grad_enabled()) for view in views]

    def _vector(self, vector: Tensor) -> Tensor:
        if vector.shape != (self.num_parameters,):
            raise ValueError(
                f"a vector of shape {tuple(vector.shape)}: this surface has points of shape ({self.num_parameters},)"
            )
        return vector.to(self.device, self.dtype)

    def _own(self, value: Tensor, *, copy: bool = True) -> Tensor:
        dtype = self.dtype if value.is_floating_point() else value.dtype
        return value.detach().to(self.device, dtype, copy=copy)


def _sum(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses.sum() if weights is None else (losses * weights).sum()

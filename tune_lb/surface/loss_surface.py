"""The mean loss of a network over a whole data set, as a function of one flat vector of its trainable parameters."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from tune_lb.losses import LossFn
from tune_lb.surface.derivatives import Graph, flat, free_bytes, gradients
from tune_lb.surface.network_over_data import BatchNormMode, NetworkOverData
from tune_lb.surface.products import Products, by_differences, has_own_functions, right_products, twice_differentiable
from tune_lb.trees import mapped

FEW = 4
"""Examples that products are tried on."""


class LossSurface(NetworkOverData):
    """f(w) = sum_i c_i loss(module(x_i; w), y_i) / sum_i c_i, with its gradient and Hessian-vector products.

    The module serves as architecture only: values come from copies of params and buffers. Its parameters, buffers,
    train flags and .grad and the global random state are as before after every call, exceptions included. A parameter
    is trainable if the module's own parameter of that name requires a gradient; unused ones have zero gradient.

    params, buffers: one member's, with the names of module.named_parameters() and module.named_buffers().
    loss: (outputs (B, ...), targets (B, ...)) -> loss of each example (B,).
    inputs (N, ...), or a tree of such tensors, targets (N, ...): kept by reference; the network sees copies. Real numbers are
    taken in dtype, whole numbers stay whole.
    batch_norm: "running" normalises with the running statistics (evaluation mode); "recalibrated" with statistics
    recomputed over these data; "batch" with those of the chunk, so that the chunk is part of what is measured, as it is always of
    layers that keep no running statistics. The
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
        inputs: Any,
        targets: Tensor,
        **options: Any,
    ) -> None:
        super().__init__(module, params, buffers, loss, inputs, targets, **options)
        self.num_values = self.num_gradients = self.num_hvps = 0
        self._value: float | None = None
        self._gradient: Tensor | None = None
        self._graphs: list[Graph] = []
        self._products: list[Products] = []

    def __enter__(self) -> Self:
        """Return the surface; leaving the block closes it."""
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what is kept (graphs for Hessian-vector products, f at the weights); later calls make it again."""
        self._graphs, self._value, self._gradient = [], None, None

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

    def part(self, index: Tensor, **changes: Any) -> LossSurface:
        """Return the surface over the examples of an index (M,): same batch-norm statistics, weights and options but changes."""
        own = LossSurface(
            self._module,
            {**self.unflatten(self._point), **self._frozen},
            self._buffers,
            self._loss,
            mapped(lambda leaf: leaf[index.to(leaf.device)], self._inputs),
            self._targets[index.to(self._targets.device)],
            batch_norm="batch" if self.batch_norm == "batch" else "running",
            transform=self._transform,
            split=self.split,
            weights=None if self._weights is None else self._weights[index.to(self.device)],
            **{"chunk": self._asked_chunk, "dtype": self.dtype} | changes,
        )
        own.batch_norm = self.batch_norm
        own.share_products(self)
        return own

    @property
    def has_classes(self) -> bool:
        """Whether targets are classes, one whole number for each example."""
        return self._targets.ndim == 1 and not self._targets.is_floating_point()

    def under(
        self, *, loss: LossFn | None = None, batch_norm: BatchNormMode | None = None, chunk: int | None = None
    ) -> LossSurface:
        """Return the surface of another loss, or with other batch-norm statistics, at the same weights over the same examples."""
        mode: BatchNormMode = "batch" if self.batch_norm == "batch" else "running"
        own = LossSurface(
            self._module,
            {**self.unflatten(self._point), **self._frozen},
            self._buffers,
            loss or self._loss,
            self._inputs,
            self._targets,
            batch_norm=batch_norm or mode,
            chunk=chunk or self._asked_chunk,
            dtype=self.dtype,
            transform=self._transform,
            split=self.split,
            weights=self._weights,
        )
        own.batch_norm = batch_norm or self.batch_norm
        return own

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
        """Return H v (num_parameters,), H the Hessian of f at the weights: exact, or by differences where `products` says so."""
        if self.products() == "exact":
            product = self.exact_product(vector)
        else:
            product = by_differences(lambda at: self.value_and_gradient(at)[1], self._point, self._vector(vector))
        self.num_hvps += 1
        return product

    def products(self) -> Products:
        """Say how products are made, found once for a surface and its parts: see right_products. Cost: that of a few examples."""
        if not self._products:
            first = torch.arange(min(FEW, self.num_samples))
            try:
                with self.part(first, dtype=torch.float64, chunk=None) as few:
                    few.defect()
            except Exception:  # a network that computes in its own type only, or one that raises again below
                few = self.part(first, chunk=None)
            with few:
                self._products.append(right_products(few))
        return self._products[0]

    def share_products(self, other: LossSurface) -> None:
        """Find out how products are made only once for this surface and another one of the same network and loss."""
        self._products = other._products

    def has_own_functions(self) -> bool:
        """Say whether the graph of f holds autograd functions written in Python."""
        return any(self.examples(lambda leaves, losses: torch.tensor(has_own_functions(losses))))

    def exact_product(self, vector: Tensor) -> Tensor:
        """Return H v by reverse mode twice, whether or not every operation of the network has a second derivative."""
        parts = list(self.unflatten(vector).values())
        product = torch.zeros_like(self._point)
        with self._stateless(), twice_differentiable(self._module, self.device), torch.enable_grad():
            pairs = ((graph, True) for graph in self._graphs) if self._graphs else self._new_graphs()
            for graph, kept in pairs:
                product += flat(graph.product(parts, retain_graph=kept))
        return product

    def examples(
        self,
        visit: Callable[[Sequence[Tensor], Tensor], Tensor],
        loss: LossFn | None = None,
        chunk: int | None = None,
        point: Tensor | None = None,
    ) -> list[Tensor]:
        """Return visit(leaves, losses (b,)) of each chunk in order: single losses with their graph, or another loss's."""
        with self._stateless(), twice_differentiable(self._module, self.device), torch.enable_grad():
            leaves = self._leaves(point)
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


def _sum(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses.sum() if weights is None else (losses * weights).sum()

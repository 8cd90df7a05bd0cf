"""The mean loss of a network over a whole data set, as a function of one flat vector of its trainable parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tune_lb.gradient import LossFn
from tune_lb.stateless import check_batch_norm, measuring

BatchNormMode = Literal["running", "batch"]

MAX_CHUNK_ELEMENTS = 2**21
"""Largest number of input elements in a chunk that the surface chooses itself: 2,048 MNIST images, 682 CIFAR images."""


class LossSurface:
    """f(w) = (1/N) sum_i loss(module(x_i; w), y_i), with its gradient and Hessian-vector products.

    The module serves as architecture only: values come from copies of params and buffers. Its parameters, buffers,
    train flags and .grad and the global random state are as before after every call, exceptions included. A parameter
    is trainable if the module's own parameter of that name requires a gradient; unused ones have zero gradient.

    params, buffers: one member's, with the names of module.named_parameters() and module.named_buffers().
    loss: (outputs (B, ...), targets (B, ...)) -> loss of each example (B,).
    inputs (N, ...), targets (N, ...): kept by reference.
    batch_norm: "running" normalises with the running statistics (evaluation mode); "batch" with those of the chunk,
    running statistics untouched, so that the chunk is part of what is measured. Dropout is off in both.
    transform: applied to each chunk of inputs (uint8 to normalised float, say).
    split: what the data are called in the protocol.
    chunk: examples in one forward pass; None takes all, or equal parts of at most MAX_CHUNK_ELEMENTS input elements.
    dtype: float32 or float64; None takes the parameters' own.

    Costs in gradient evaluations: value 0.3; a Hessian-vector product 1.3 to 2.2 where all data are one chunk (reverse
    over reverse on a graph that is built once, 1 gradient, and kept until close), 2.4 to 3.0 otherwise.
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
    ) -> None:
        _check_names_and_shapes("parameters", params, dict(module.named_parameters()))
        _check_names_and_shapes("buffers", buffers, dict(module.named_buffers()))
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
        self._inputs, self._targets = inputs, targets
        self.split = split
        self.batch_norm = batch_norm
        self.dtype = _float_dtype([params[name].dtype for name in trainable], dtype)
        self.device = params[trainable[0]].device
        self.num_samples = len(inputs)
        self._asked_chunk = chunk
        self.chunk = chunk_size(inputs) if chunk is None else min(chunk, self.num_samples)
        if batch_norm not in get_args(BatchNormMode):
            raise ValueError(f"batch_norm = {batch_norm!r}: give 'running' or 'batch'")
        smallest = self.num_samples % self.chunk or self.chunk
        check_batch_norm(module, batch_statistics=batch_norm == "batch", smallest_chunk=smallest)

        self._shapes = {name: params[name].shape for name in trainable}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self.num_parameters = sum(self._sizes)
        self._point = torch.cat([self._own(params[name]).reshape(-1) for name in trainable])
        self._frozen = {name: self._own(value) for name, value in params.items() if name not in self._shapes}
        self._buffers = {name: self._own(value) for name, value in buffers.items()}
        self._finite_weights = all(bool(value.isfinite().all()) for value in [self._point, *self._frozen.values()])

        self.num_values = self.num_gradients = self.num_hvps = 0
        self._value: float | None = None
        self._gradient: Tensor | None = None
        self._graph: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None

    def __enter__(self) -> Self:
        """Return the surface; leaving the block closes it."""
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what is kept (the graph for Hessian-vector products, f at the weights); later calls make it again."""
        self._graph = self._value = self._gradient = None

    @property
    def point(self) -> Tensor:
        """The weights as one flat vector, shape (num_parameters,): a copy."""
        return self._point.clone()

    def unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        """Return views of a flat vector (num_parameters,) by parameter name, in the parameters' shapes."""
        parts = torch.split(self._vector(vector), self._sizes)
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

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
        kept = order[:num_samples].sort().values
        return LossSurface(
            self._module,
            {**self.unflatten(self._point), **self._frozen},
            self._buffers,
            self._loss,
            self._inputs[kept.to(self._inputs.device)],
            self._targets[kept.to(self._targets.device)],
            batch_norm=self.batch_norm,
            chunk=self._asked_chunk,
            dtype=self.dtype,
            transform=self._transform,
            split=self.split,
        )

    def value(self, point: Tensor | None = None) -> float:
        """Return f at a flat point (num_parameters,), or at the weights; examples are summed in float64."""
        if point is None and self._value is not None:
            return self._value
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with self._stateless(), torch.no_grad():
            leaves = self._leaves(point)
            for inputs, targets in self._chunks():
                total += self._losses(leaves, inputs, targets).double().sum()
        self.num_values += 1
        value = float(total) / self.num_samples
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
            for inputs, targets in self._chunks():
                losses = self._losses(leaves, inputs, targets)
                total += losses.detach().double().sum()
                gradient += _flat(_gradients(losses.sum() / self.num_samples, leaves))
        self.num_gradients += 1
        value = float(total) / self.num_samples
        if point is None:
            self._value, self._gradient = value, gradient.clone()
        return value, gradient

    def hvp(self, vector: Tensor) -> Tensor:
        """Return H v (num_parameters,), H the Hessian of f at the weights: exact, no finite differences."""
        parts = [
            part.view(shape)
            for part, shape in zip(torch.split(self._vector(vector), self._sizes), self._shapes.values(), strict=True)
        ]
        with self._stateless(), torch.enable_grad():
            if self.chunk >= self.num_samples:
                leaves, gradients = self._graph or self._build_graph()
                product = _product(leaves, gradients, parts, retain_graph=True)
            else:
                product = torch.zeros_like(self._point)
                leaves = self._leaves(None)
                for inputs, targets in self._chunks():
                    mean = self._losses(leaves, inputs, targets).sum() / self.num_samples
                    gradients = _gradients(mean, leaves, create_graph=True)
                    product += _product(leaves, gradients, parts, retain_graph=False)
        self.num_hvps += 1
        return product

    def _build_graph(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        leaves = self._leaves(None)
        inputs, targets = next(self._chunks())
        losses = self._losses(leaves, inputs, targets)
        gradients = _gradients(losses.sum() / self.num_samples, leaves, create_graph=True)
        self.num_gradients += 1
        self._value = float(losses.detach().double().sum()) / self.num_samples
        self._gradient = _flat([gradient.detach() for gradient in gradients])
        self._graph = leaves, gradients
        return self._graph

    def _stateless(self) -> AbstractContextManager[None]:
        return measuring(self._module, self.device, batch_statistics=self.batch_norm == "batch")

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets in zip(
            torch.split(self._inputs, self.chunk), torch.split(self._targets, self.chunk), strict=True
        ):
            yield (
                self._own(self._transform(inputs) if self._transform else inputs, copy=False),
                self._own(targets, copy=False),
            )

    def _losses(self, leaves: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        # Buffers are cloned because batch norm writes into them in the "batch" mode.
        buffers = {name: value.clone() for name, value in self._buffers.items()}
        values = {**dict(zip(self._shapes, leaves, strict=True)), **self._frozen, **buffers}
        losses: Tensor = self._loss(functional_call(self._module, values, (inputs,)), targets)
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


def chunk_size(inputs: Tensor) -> int:
    """Return the size of the fewest equal chunks of inputs (N, ...) of at most MAX_CHUNK_ELEMENTS elements each."""
    largest = max(1, MAX_CHUNK_ELEMENTS // max(1, inputs[0].numel()))
    num_chunks = -(-len(inputs) // largest)
    return -(-len(inputs) // num_chunks)


def _check_names_and_shapes(what: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    if given.keys() != own.keys():
        missing, unknown = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
        raise ValueError(f"the {what} are not the module's: missing {missing}, unknown {unknown}")
    for name, value in given.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"{what}: {name} is {tuple(value.shape)}, the module's {tuple(own[name].shape)}: give one member's"
            )


def _float_dtype(found: Sequence[torch.dtype], asked: torch.dtype | None) -> torch.dtype:
    kinds = set(found) if asked is None else {asked}
    if len(kinds) != 1 or not kinds <= {torch.float32, torch.float64}:
        raise ValueError(f"dtype {', '.join(sorted(map(str, kinds)))}: give dtype=torch.float32 or torch.float64")
    return kinds.pop()


def _gradients(output: Tensor, leaves: Sequence[Tensor], *, create_graph: bool = False) -> Sequence[Tensor]:
    if not output.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(output, leaves, create_graph=create_graph, materialize_grads=True)


def _product(
    leaves: Sequence[Tensor], gradients: Sequence[Tensor], vector: Sequence[Tensor], *, retain_graph: bool
) -> Tensor:
    # A gradient that does not depend on the parameters (a linear loss, an unused parameter) has no graph.
    pairs = [(g, v) for g, v in zip(gradients, vector, strict=True) if g.grad_fn is not None]
    if not pairs:
        return _flat([torch.zeros_like(leaf) for leaf in leaves])
    outputs, weights = zip(*pairs, strict=True)
    return _flat(torch.autograd.grad(outputs, leaves, weights, retain_graph=retain_graph, materialize_grads=True))


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.detach().reshape(-1) for part in parts])

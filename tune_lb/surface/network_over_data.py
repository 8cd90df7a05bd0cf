"""A network over data: the losses of a module's outputs on every example, as a function of one flat vector of weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from tune_lb.losses import LossFn
from tune_lb.surface.evaluation_mode import (
    apart,
    batch_norm_used,
    check_batch_norm,
    check_examples,
    check_names_and_shapes,
    checked_weights,
    chunk_size,
    float_dtype,
    measuring,
    recalibrated,
)
from tune_lb.surface.swapped import Places
from tune_lb.trees import mapped

BatchNormMode = Literal["running", "batch", "recalibrated"]


class NetworkOverData:
    """One member's network with all examples that it is measured on, chunk after chunk. Arguments: see LossSurface."""

    def __init__(
        self,
        module: nn.Module,
        params: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        loss: LossFn,
        inputs: Any,
        targets: Tensor,
        *,
        batch_norm: BatchNormMode = "running",
        chunk: int | None = None,
        dtype: torch.dtype | None = None,
        transform: Callable[[Any], Any] | None = None,
        split: str = "train",
        weights: Tensor | None = None,
    ) -> None:
        check_names_and_shapes("parameters", params, dict(module.named_parameters()))
        check_names_and_shapes("buffers", buffers, dict(module.named_buffers()))
        trainable = [name for name, own in module.named_parameters() if own.requires_grad]
        if not trainable:
            raise ValueError("the module has no trainable parameter: there is nothing to take a derivative by")
        check_examples(inputs, targets, chunk)

        self._module, self._loss, self._transform = module, loss, transform
        self._places = Places(module)
        self._inputs, self._targets = inputs, targets
        self.split = split
        self.batch_norm = batch_norm
        self.dtype = float_dtype([params[name].dtype for name in trainable], dtype)
        self.device = params[trainable[0]].device
        self.num_samples = len(targets)
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
        if batch_norm == "recalibrated":
            values = {**self.unflatten(self._point), **self._frozen}
            self._buffers = recalibrated(module, values, self._buffers, (inputs for inputs, _ in self._chunks()))

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

    def examples_at_once(self) -> tuple[Any, Tensor]:
        """Return network inputs and targets where all data are one chunk."""
        (pair,) = self._chunks()
        return pair

    def protocol(self) -> dict[str, str | int]:
        """Return what a number measured on this surface depends on: split, num_samples, batch_norm, dtype, chunk."""
        dtype = str(self.dtype).removeprefix("torch.")
        shared: dict[str, str | int] = {"split": self.split, "num_samples": self.num_samples}
        return {
            **shared,
            "batch_norm": batch_norm_used(self._module, self.batch_norm),
            "dtype": dtype,
            "chunk": self.chunk,
        }

    def share_examples(self, other: NetworkOverData) -> None:
        """Refer to the examples of another surface, which are equal to its own, so that memory holds them once."""
        self._inputs, self._targets = other._inputs, other._targets

    @contextmanager
    def _stateless(self) -> Iterator[None]:
        with measuring(self._module, self.device, batch_statistics=self.batch_norm == "batch"), self._places.kept():
            yield

    def _tensors(self, leaves: Sequence[Tensor]) -> dict[str, Tensor]:
        # Buffers are cloned because batch norm writes into them in the "batch" mode.
        buffers = {name: value.clone() for name, value in self._buffers.items()}
        return {**dict(zip(self._shapes, leaves, strict=True)), **self._frozen, **buffers}

    def _chunks(self, chunk: int | None = None) -> Iterator[tuple[Any, Tensor]]:
        size = chunk or self.chunk
        for start in range(0, self.num_samples, size):
            inputs = mapped(lambda leaf, at=slice(start, start + size): leaf[at], self._inputs)
            own = mapped(self._cast, self._transform(inputs) if self._transform else inputs)
            yield apart(own, self._inputs), self._cast(self._targets[start : start + size])

    def _weighted_chunks(self) -> Iterator[tuple[tuple[Any, Tensor], Tensor | None]]:
        weights = itertools.repeat(None) if self._weights is None else torch.split(self._weights, self.chunk)
        return zip(self._chunks(), weights, strict=False)

    def _losses(self, leaves: Sequence[Tensor], inputs: Any, targets: Tensor, loss: LossFn | None = None) -> Tensor:
        losses: Tensor = (loss or self._loss)(self._places.call(self._tensors(leaves), inputs), targets)
        if losses.shape != (len(targets),):
            raise ValueError(
                f"the loss returned shape {tuple(losses.shape)} for {len(targets)} examples: give one number for each"
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

    def _own(self, value: Tensor) -> Tensor:
        return self._cast(value, copy=True)

    def _cast(self, value: Tensor, copy: bool = False) -> Tensor:
        dtype = self.dtype if value.is_floating_point() else value.dtype
        return value.detach().to(self.device, dtype, copy=copy)

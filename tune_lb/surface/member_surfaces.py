"""Loss surfaces of several members of one network over the same data, differentiated at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tune_lb.losses import LossFn
from tune_lb.surface.derivatives import Graph, free_bytes
from tune_lb.surface.evaluation_mode import measuring
from tune_lb.surface.loss_surface import LossSurface
from tune_lb.surface.products import twice_differentiable

Member = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]
"""Parameters and buffers of one member."""

SMALL = 2**22
"""Examples times parameters up to which members together are faster on a CPU: 3 to 4 times at 1e5 to 1e6, slower at 1e7."""


class MemberSurfaces:
    """f_k(w_k) of K members: each a LossSurface, and Hessian-vector products of all of them in one pass.

    members: parameters and buffers of each. module, loss, inputs, targets, options: see LossSurface; all members share them.
    together: whether products are made in one vectorised pass (torch.func.vmap), whose graph is kept, or member after member.
    None: together on a GPU, and on a CPU where the network is small, where a pass costs calls rather than
    arithmetic; but member after member where the graph of all would not fit in memory or torch.func cannot vectorise the
    network. Several chunks and sample weights are always done member after member. Both give the same products up to rounding.
    """

    def __init__(
        self,
        module: nn.Module,
        members: Sequence[Member],
        loss: LossFn,
        inputs: Any,
        targets: Tensor,
        *,
        together: bool | None = None,
        **options: Any,
    ) -> None:
        if not members:
            raise ValueError("no members are given: there is nothing to measure")
        surfaces = [
            LossSurface(module, params, buffers, loss, inputs, targets, **options) for params, buffers in members
        ]
        self._module, self._loss, self._asked = module, loss, together
        self._is_weighted = options.get("weights") is not None
        self._take(surfaces)

    def _take(self, surfaces: list[LossSurface]) -> None:
        self.surfaces, first, together = surfaces, surfaces[0], self._asked
        for surface in surfaces[1:]:
            surface.share_products(first)
        fits = first.chunk >= first.num_samples and not self._is_weighted
        if together is None:
            work = first.num_samples * first.num_parameters
            together = len(surfaces) > 1 and (first.device.type == "cuda" or work <= SMALL)
        self.together = together and fits
        self._graph: Graph | None = None

    def subset(self, num_samples: int) -> MemberSurfaces:
        """Return the surfaces over LossSurface.subset of each."""
        surfaces: list[LossSurface] = []
        for surface in self.surfaces:
            surfaces.append(surface.subset(num_samples))
            surfaces[-1].share_examples(surfaces[0])
        part = copy.copy(self)
        part._take(surfaces)
        return part

    def __len__(self) -> int:
        return len(self.surfaces)

    def __enter__(self) -> Self:
        """Return the surfaces; leaving the block closes them."""
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Free every graph that is kept."""
        self._graph = None
        for surface in self.surfaces:
            surface.close()

    def hvps(self, vectors: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return H_k v_k (n,) for the members that a vector v_k (n,) is given for, by their number from 0."""
        graph = self._kept()
        if graph is None:
            return {k: self.surfaces[k].hvp(vector) for k, vector in vectors.items()}
        first = self.surfaces[0]
        zero = torch.zeros(first.num_parameters, dtype=first.dtype, device=first.device)
        parts = [surface.unflatten(vectors.get(k, zero)) for k, surface in enumerate(self.surfaces)]
        stacked = [torch.stack([part[name] for part in parts]) for name in parts[0]]
        # a member's loss depends on its own row of the leaves alone, so the rows of the product are the members'
        with self._measuring(), torch.enable_grad():
            product = graph.product(stacked, retain_graph=True)
        rows = torch.cat([part.detach().reshape(len(self), -1) for part in product], 1)
        for k in vectors:
            self.surfaces[k].num_hvps += 1
        return {k: rows[k] for k in vectors}

    def at_once(self) -> bool:
        """Say whether products are made together, after the graph for them was built where they are to be."""
        return self._kept() is not None

    def _kept(self) -> Graph | None:
        if self.together and self._graph is None:
            try:
                self.together = self.surfaces[0].products() == "exact"
                with self._measuring(), torch.enable_grad():
                    self.together = self.together and (self._asked is not None or self._fits())
                    self._graph = self._built(self.surfaces) if self.together else None
            except RuntimeError:
                # a fault that is not vectorisation's is raised again by the first member alone
                if self._asked:
                    raise
                self.together = False
        return self._graph

    def _fits(self) -> bool:
        return len(self) * self._built(self.surfaces[:1]).size_bytes() <= free_bytes(self.surfaces[0].device)

    @contextmanager
    def _measuring(self) -> Iterator[None]:
        first = self.surfaces[0]
        statistics = first.batch_norm == "batch"
        with (
            measuring(self._module, first.device, batch_statistics=statistics),
            twice_differentiable(self._module, first.device),
        ):
            yield

    def _built(self, surfaces: Sequence[LossSurface]) -> Graph:
        tensors = [surface.tensors() for surface in surfaces]
        names = list(surfaces[0].unflatten(surfaces[0].point))
        stacked = {name: torch.stack([own[name] for own in tensors]) for name in tensors[0]}
        leaves = {name: stacked.pop(name).requires_grad_() for name in names}
        inputs, targets = surfaces[0].examples_at_once()

        def mean(own: dict[str, Tensor], others: dict[str, Tensor]) -> Tensor:
            values = own | {name: value.clone() for name, value in others.items()}
            return self._loss(functional_call(self._module, values, (inputs,)), targets).mean()

        losses = torch.func.vmap(mean)(leaves, stacked)
        return Graph(losses.sum(), list(leaves.values()))

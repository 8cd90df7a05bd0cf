"""Gradients and Hessian-vector products by reverse mode, as flat vectors; what a kept graph weighs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

MAX_GRAPH_BYTES = 2**31
"""Most memory for graphs kept between Hessian-vector products on a CPU; on a GPU half of what is free."""


class Graph:
    """The graph of a gradient: leaves, and the gradient by each of them, which can be differentiated again.

    before: called before the graph is used again: puts in place what checkpointed parts of a network read when they run anew.
    """

    def __init__(self, output: Tensor, leaves: Sequence[Tensor], before: Callable[[], object] = tuple) -> None:
        self.leaves, self.before = leaves, before
        self.gradients = gradients(output, leaves, create_graph=True)

    def product(self, vector: Sequence[Tensor], *, retain_graph: bool) -> Sequence[Tensor]:
        """Return H v by leaf; v by leaf, in the leaves' shapes."""
        # A gradient that does not depend on the parameters (a linear loss, an unused parameter) has no graph.
        pairs = [(g, v) for g, v in zip(self.gradients, vector, strict=True) if g.grad_fn is not None]
        if not pairs:
            return [torch.zeros_like(leaf) for leaf in self.leaves]
        outputs, weights = zip(*pairs, strict=True)
        self.before()
        return torch.autograd.grad(outputs, self.leaves, weights, retain_graph=retain_graph, materialize_grads=True)

    def size_bytes(self) -> int:
        """Return the bytes of the tensors that the graph keeps alive, each counted once."""
        storages: dict[int, int] = {}
        seen: set[Any] = set()
        left: list[Any] = [g.grad_fn for g in self.gradients]
        while left:
            node = left.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            left += [following for following, _ in node.next_functions]
            for name in dir(node):
                if not name.startswith("_saved_") and name != "saved_tensors":
                    continue
                found = getattr(node, name)
                for value in found if isinstance(found, tuple | list) else [found]:
                    if isinstance(value, Tensor) and value.layout == torch.strided:
                        storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return sum(storages.values())


def gradients(output: Tensor, leaves: Sequence[Tensor], *, create_graph: bool = False) -> Sequence[Tensor]:
    """Return the gradient of a scalar by each leaf; zeros where it does not depend on them."""
    if not output.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return torch.autograd.grad(output, leaves, create_graph=create_graph, materialize_grads=True)


def flat(parts: Sequence[Tensor]) -> Tensor:
    """Return the parts as one vector, without their graphs."""
    return torch.cat([part.detach().reshape(-1) for part in parts])


def free_bytes(device: torch.device) -> int:
    """Return the most memory that kept graphs may take."""
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else MAX_GRAPH_BYTES

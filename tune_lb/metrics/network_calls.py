"""How a user's network is called with data of any form, while it is measured: hooks that are gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from tune_lb.errors import RequestError
from tune_lb.surface.network_forms import picked, unpacked
from tune_lb.trees import is_tree


@contextmanager
def called_with(module: nn.Module, inputs: Any) -> Iterator[None]:
    """Let module(inputs) be one tensor inside the block.

    Inputs that are a tuple reach its forward as module(*inputs), a dict as module(**inputs). Of what it returns, the `logits` are
    taken where it is no tensor. Raises RequestError inside the block where there are none.
    """
    hooks = [module.register_forward_hook(_logits)]
    if is_tree(inputs):
        hooks.append(module.register_forward_pre_hook(unpacked, with_kwargs=True, prepend=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _logits(module: nn.Module, arguments: Any, returned: Any) -> Tensor:
    found = picked(returned, None)
    if not isinstance(found, Tensor):
        parts = f" with {', '.join(map(str, returned))}" if isinstance(returned, Mapping) else ""
        raise RequestError(
            f"the network returns {type(returned).__name__}{parts}: measure a module whose forward returns one tensor, or logits"
        )
    return found

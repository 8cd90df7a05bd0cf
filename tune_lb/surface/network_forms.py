"""How a network is called and what it gives back: several inputs, and outputs that are no tensor.

Everything calls `module(inputs)`. Inputs that are a tuple reach the user's forward as module(*inputs), a dict as module(**inputs);
of what it returns, its `logits` are taken, or what `output` of the space picks. Both are hooks on the outermost module, so that
copies, vectorisation and compiled steps see the same network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from tune_lb.trees import is_tree

Output = str | int | Callable[[Any], Any]
"""What is taken of a network's return value: the name of an attribute or key, a place in a tuple, or a function of it."""

LIBRARIES = ("torch.", "tune_lb.")


def adapted(module: nn.Module, input_shape: Any, output: Output | None = None) -> nn.Module:
    """Return the module, in place, so that module(inputs) is one tensor for inputs of the shape (a tree of shapes for a tree).

    Networks of torch's and our own layers that take one tensor get no hook: their calls cost nothing more.
    """
    if _has_leaves(input_shape):
        module.register_forward_pre_hook(unpacked, with_kwargs=True)
    if output is not None or not type(module).__module__.startswith(LIBRARIES):
        module.register_forward_hook(_Picked(output))
    return module


def picked(returned: Any, output: Output | None) -> Any:
    """Return what is taken of what a network returned. Raises LookupError or AttributeError where that is not there."""
    if output is None:
        if isinstance(returned, Tensor):
            return returned
        if isinstance(returned, Mapping) and "logits" in returned:
            return returned["logits"]
        return getattr(returned, "logits", returned)
    if callable(output):
        return output(returned)
    if isinstance(output, int) or isinstance(returned, Mapping):
        return returned[output]
    return getattr(returned, output)


class _Picked:
    """A forward hook. A class of its own, so that networks with it can be copied and pickled."""

    def __init__(self, output: Output | None) -> None:
        self.output = output

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], returned: Any) -> Any:
        """Return what is taken of the outputs."""
        return picked(returned, self.output)


def unpacked(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A forward pre-hook: hands out the parts of inputs that are a tuple or a dict."""
    if len(arguments) == 1 and not named:
        inputs = arguments[0]
        if isinstance(inputs, Mapping):
            return (), dict(inputs)
        if is_tree(inputs):
            return tuple(inputs), {}
    return arguments, named


def _has_leaves(input_shape: Any) -> bool:
    return isinstance(input_shape, Mapping) or any(is_tree(entry) for entry in input_shape)

"""A module as a function of its tensors: others stand in its places while it runs, and for as long as its graph is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

PYTHON_STATE = "python_state"
"""Name of the buffer of a network's Python attributes, bytes of any number."""


class Places:
    """The places in a module where its parameters and buffers stand, by name.

    The same as torch.func.functional_call, which looks every name up again at every call (of a small step that is a tenth) and
    puts the module's own tensors back when the forward pass is over. What runs the forward pass again later (activation
    checkpointing) would find those: here the tensors stay until the block of `kept` ends, derivatives included. Tied tensors (one
    under several names) go under the first name.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._places: dict[str, list[tuple[dict[str, Tensor | None], str]]] = {}
        names: dict[int, str] = {}
        for prefix, part in module.named_modules():
            for tensors in (part._parameters, part._buffers):
                for name, value in tensors.items():
                    if value is not None:
                        first = names.setdefault(id(value), f"{prefix}.{name}".lstrip("."))
                        self._places.setdefault(first, []).append((tensors, name))

        self._all = [place for places in self._places.values() for place in places]

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put everything back at the end of the block, whatever `put` and the module itself have placed there."""
        before = [(holder, key, holder[key]) for holder, key in self._all if key in holder]
        try:
            yield
        finally:
            for holder, key, value in before:
                holder[key] = value

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Let tensors stand in the places of their names."""
        for name, tensor in tensors.items():
            for holder, key in self._places[name]:
                holder[key] = tensor

    def at(self, names: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return what stands there under the names: a buffer that the module has assigned anew is another tensor."""
        found = {}
        for name in names:
            holder, key = self._places[name][0]
            value = holder.get(key)
            if isinstance(value, Tensor):
                found[name] = value
        return found

    def call(self, tensors: Mapping[str, Tensor], inputs: Any) -> Tensor:
        """Return the outputs for the inputs with the tensors in place, and leave them there: call it inside `kept`."""
        self.put(tensors)
        outputs: Tensor = self.module(inputs)
        return outputs

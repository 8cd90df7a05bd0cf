"""What a network keeps in Python attributes (a counter, a list, a plain tensor), as a buffer that travels with its tensors."""

from __future__ import annotations

import collections
import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tune_lb.surface.swapped import PYTHON_STATE
from tune_lb.training.python_values import Generator as KeptGenerator
from tune_lb.training.python_values import Tensor as KeptTensor
from tune_lb.training.state_coding import from_bytes, to_bytes

TORCH_ATTRIBUTES = frozenset(vars(nn.Module())) | {"_flat_weights", "_flat_weights_names", "_flat_weight_refs"}
"""What every module has, and what torch's recurrent layers make of their parameters by themselves."""

PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice)
"""Values that stand for themselves; a class of somebody's own made from one of these does not."""

State = dict[str, dict[str, Any]]
"""Attributes by the name of the submodule that has them."""


def python_state(module: nn.Module) -> State:
    """Return the attributes of a network's parts that can be carried: numbers, texts, arrays, tensors, and containers of these.

    Left out: what torch keeps by itself, its own layers, attributes that hold modules, parameters or buffers, tensors with a graph
    (what a layer remembers of a forward pass), and everything else (functions, locks).
    """
    tensors = {id(value) for value in [*module.parameters(), *module.buffers()]}
    found: State = {}
    for name, part in module.named_modules():
        if is_own(part):
            own = {}
            for key, value in vars(part).items():
                if key not in TORCH_ATTRIBUTES:
                    try:
                        own[key] = _portable(value, tensors)
                    except TypeError:
                        continue
            if own:
                found[name] = own
    return found


def is_own(part: nn.Module) -> bool:
    """Say whether a part of a network is of a class of somebody's own: torch's layers and ours keep nothing in attributes."""
    return not type(part).__module__.startswith(("torch.", "tune_lb."))


def encoded(state: State, device: torch.device) -> Tensor:
    """Return a state as the contents of the buffer (uint8)."""
    return torch.frombuffer(bytearray(to_bytes(state)), dtype=torch.uint8).to(device)


def decoded(buffer: Tensor) -> State:
    """Return the state that a buffer holds. Nothing but data is made of it, whoever wrote the file that it comes from."""
    found: State = from_bytes(buffer.cpu().numpy().tobytes())
    return found


def check_states(checkpoint: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a checkpoint holds what is no state of a network: now, and not in the first forward pass."""
    for name, tensor in checkpoint.items():
        if name.endswith(PYTHON_STATE):
            decoded(tensor)


def carrying_state(module: nn.Module) -> nn.Module:
    """Let a network's Python attributes travel in a buffer: set from it before each forward pass, read into it after one.

    In evaluation mode they are set and not read, so evaluation leaves nothing behind. A network that has none is left as it is.
    """
    state = python_state(module)
    if state:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        module.register_buffer(PYTHON_STATE, encoded(state, device))
        module.register_forward_pre_hook(_set, prepend=True)
        module.register_forward_hook(_read)
    return module


def _set(module: nn.Module, _: object) -> None:
    buffer = module._buffers[PYTHON_STATE]
    if buffer is None:
        return
    for name, own in decoded(buffer).items():
        part = module.get_submodule(name)
        for key, value in own.items():
            vars(part)[key] = _restored(value, buffer.device)


def _read(module: nn.Module, _: object, outputs: object) -> None:
    buffer = module._buffers[PYTHON_STATE]
    if module.training and buffer is not None:
        module._buffers[PYTHON_STATE] = encoded(python_state(module), buffer.device)


def _portable(value: Any, tensors: set[int]) -> Any:
    if type(value) in PLAIN:
        return value
    if isinstance(value, Tensor):
        if id(value) in tensors or isinstance(value, nn.Parameter) or value.grad_fn is not None:
            raise TypeError
        return KeptTensor(value.detach().cpu().numpy().copy(), str(value.device.type))
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            raise TypeError
        return np.copy(value) if isinstance(value, np.ndarray) else value
    if isinstance(value, np.random.Generator | np.random.RandomState):
        bits = value.bit_generator if isinstance(value, np.random.Generator) else value._bit_generator
        return KeptGenerator(type(value).__name__, type(bits).__name__, bits.state)
    if isinstance(value, torch.Generator):
        return KeptGenerator("torch", value.device.type, value.get_state().numpy())
    if isinstance(value, dict):
        return type(value)(_items(value, tensors)) if type(value) in (dict, collections.OrderedDict) else _refused()
    if type(value) in (list, tuple, set, frozenset, collections.deque):
        parts = [_portable(part, tensors) for part in value]
        return collections.deque(parts, value.maxlen) if isinstance(value, collections.deque) else type(value)(parts)
    raise TypeError


def _items(value: dict[Any, Any], tensors: set[int]) -> list[tuple[Any, Any]]:
    return [(_portable(key, tensors), _portable(own, tensors)) for key, own in value.items()]


def _refused() -> Any:
    raise TypeError


def _restored(value: Any, device: torch.device) -> Any:
    if isinstance(value, KeptTensor):
        return torch.from_numpy(value.array.copy()).to("cpu" if value.kind == "cpu" else device)
    if isinstance(value, KeptGenerator):
        return value.made()
    if isinstance(value, dict):
        return type(value)((_restored(key, device), _restored(own, device)) for key, own in value.items())
    if isinstance(value, collections.deque):
        return collections.deque((_restored(part, device) for part in value), value.maxlen)
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_restored(part, device) for part in value)
    return value


def same_value(a: Any, b: Any) -> bool:
    """Say whether two values of a state are equal, arrays entry by entry."""
    if type(a) is not type(b):
        return False
    if isinstance(a, KeptTensor):
        return same_value(a.array, b.array)
    if isinstance(a, KeptGenerator):
        return same_value((a.kind, a.bits, a.state), (b.kind, b.bits, b.state))
    if isinstance(a, np.ndarray):
        return bool(a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_value(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple | collections.deque):
        return len(a) == len(b) and all(same_value(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def opaque_attributes(module: nn.Module) -> dict[str, bytes]:
    """Return digests of the attributes that cannot be carried, where they can be looked into."""
    carried = python_state(module)
    found = {}
    for name, part in module.named_modules():
        if not is_own(part):
            continue
        for key, value in vars(part).items():
            if key in TORCH_ATTRIBUTES or key in carried.get(name, {}) or isinstance(value, nn.Module | Tensor):
                continue
            try:
                found[f"{type(part).__name__}.{key}"] = _digest(value)
            # what cannot be looked into (a lock, a function in a function) is not
            except Exception:
                continue
    return found


class _Digester(pickle.Pickler):
    def persistent_id(self, value: Any) -> str | None:
        """Leave out the network's own tensors, which change as they should."""
        return "tensor" if isinstance(value, nn.Module | Tensor) else None


def _digest(value: Any) -> bytes:
    buffer = io.BytesIO()
    _Digester(buffer).dump(value)
    return buffer.getvalue()

"""Whether something left a trace: in a module, in the random generators, in torch's modes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

T = TypeVar("T")


def assert_leaves_no_trace(fn: Callable[[], T], module: nn.Module) -> T:
    """Call fn and return its result; fail if it changed the module or the global random state, also when it raises.

    Compared, bit for bit: parameters and buffers (objects, versions, values), .grad, train flags, requires_grad,
    submodules and their attributes, the generators of torch, numpy and random, the default dtype and the gradient mode.
    """
    before = _state(module)
    try:
        return fn()
    finally:
        after = _state(module)
        changed = [name for name in before.keys() | after.keys() if not _same(before.get(name), after.get(name))]
        # raised in place of what fn raised: that something was left behind is the worse of the two
        if changed:
            raise AssertionError(f"left behind: {sorted(changed)}")


def _state(module: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {
        "torch random state": torch.get_rng_state(),
        "numpy random state": repr(np.random.get_state(legacy=False)),
        "python random state": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "gradient mode": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
    }
    for name, part in module.named_modules():
        state[f"{name}.training"] = part.training
        state[f"{name}.attributes"] = sorted(part.__dict__)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        state[f"{name} value"] = tensor.detach().clone()
        state[f"{name} object"] = (id(tensor), tensor._version, tensor.requires_grad)
        state[f"{name}.grad object"] = id(tensor.grad)
        state[f"{name}.grad"] = None if tensor.grad is None else tensor.grad.detach().clone()
    return state


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    return type(a) is type(b) and bool(a == b)

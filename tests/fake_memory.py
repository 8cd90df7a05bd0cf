"""A device with little memory, on a CPU: what is alive of all tensors is counted, and too much of it is out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class FakeMemory(TorchDispatchMode):
    """While it is entered every result of an operation counts as long as anything holds it; stands in for DeviceMemory too."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total, self.allowed, self.peak = total, total, 0
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        found = function(*arguments, **(named or {}))
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.alive = {key: own for key, own in self.alive.items() if not own[0].expired()}
        used = sum(size for _, size in self.alive.values())
        self.peak = max(self.peak, used)
        if used > self.allowed:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {used} of {self.allowed}")
        return found

    def total_bytes(self) -> int:
        return self.total

    def peak_bytes(self, work: Callable[[], object]) -> int:
        self.alive, self.peak = {}, 0
        with self:
            work()
        return self.peak

    def limit(self, share: float) -> None:
        self.allowed = int(share * self.total)

"""Memory of a GPU: how much there is, what work takes of it at most, and what a process may take."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch

CONTEXT_BYTES = 0.7e9
"""What CUDA and its libraries take in each process beside all tensors, about, in bytes."""


class DeviceMemory:
    """The memory of one CUDA device, as this process sees it."""

    def __init__(self, device: torch.device) -> None:
        # some of torch's functions want its number
        self.device = torch.device("cuda", torch.cuda.current_device()) if device.index is None else device

    def total_bytes(self) -> int:
        """Return all that the device has."""
        return int(torch.cuda.get_device_properties(self.device).total_memory)

    def peak_bytes(self, work: Callable[[], object]) -> int:
        """Return what this process holds of the device at most while it does some work: tensors, and what is kept for others."""
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        torch.cuda.synchronize(self.device)
        return int(torch.cuda.max_memory_reserved(self.device))

    def limit(self, share: float) -> None:
        """Let tensors of this process take no more than a share of the device, that of CUDA itself counted in."""
        fraction = share - CONTEXT_BYTES / self.total_bytes()
        torch.cuda.set_per_process_memory_fraction(min(1.0, max(0.01, fraction)), self.device)

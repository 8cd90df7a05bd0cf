"""What stands for a tensor and for a generator in the state of a network that is carried as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

NUMPY_KINDS = ("Generator", "RandomState")
NUMPY_BITS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


class Tensor:
    """A tensor as an array. kind: type of its device."""

    def __init__(self, array: Any, kind: str) -> None:
        self.array, self.kind = array, kind


class Generator:
    """The state of a generator of the network's own."""

    def __init__(self, kind: str, bits: str, state: Any) -> None:
        self.kind, self.bits, self.state = kind, bits, state

    def made(self) -> Any:
        """Return the generator. Raises ValueError for a kind that torch and NumPy do not have."""
        if self.kind == "torch":
            fresh = torch.Generator(device=self.bits)
            fresh.set_state(torch.from_numpy(self.state))
            return fresh
        if self.kind not in NUMPY_KINDS or self.bits not in NUMPY_BITS:
            raise ValueError(f"there is no generator {self.kind} of {self.bits}")
        bits = getattr(np.random, self.bits)()
        bits.state = self.state
        return getattr(np.random, self.kind)(bits)

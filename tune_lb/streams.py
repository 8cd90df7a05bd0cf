"""Random streams: one generator per purpose, derived from what it is for, never from what was drawn before."""

from __future__ import annotations

import ctypes
import hashlib
import operator
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor


def seed_of(*key: object) -> int:
    """Return a 63-bit seed that depends on every part of the key and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*key: object, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator for a key such as (salt, seed, "order", epoch).

    Resuming needs no generator state: the same key gives the same numbers, and no purpose disturbs another.
    """
    fresh = torch.Generator(device=device)
    fresh.manual_seed(seed_of(*key))
    return fresh


MT19937_BYTES = 624 * 4 + 4
"""Of the Mersenne twister in memory: its words, and where it is in them."""


class GlobalState(NamedTuple):
    """The state of the generators that code draws from without naming one: torch's, NumPy's, Python's."""

    torch: Tensor
    cuda: Tensor | None
    """That of the current GPU, where this process uses one."""
    numpy: dict[str, Any]
    python: tuple[Any, ...]

    def moved(self, later: GlobalState) -> list[str]:
        """Return the names of the generators that were drawn from between this state and a later one."""
        found = [] if torch.equal(self.torch, later.torch) else ["torch"]
        if self.cuda is not None and later.cuda is not None and not torch.equal(self.cuda, later.cuda):
            found.append("torch.cuda")
        same = self.numpy is later.numpy or _same(self.numpy, later.numpy)
        return found + ([] if same else ["numpy.random"]) + ([] if self.python == later.python else ["random"])

    def put_back(self) -> None:
        """Let the generators go on from this state."""
        global _seen
        # the memory may be that of another state: the second of a pair lies elsewhere
        _seen = _NOTHING
        torch.set_rng_state(self.torch)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
        np.random.set_state(self.numpy)
        random.setstate(self.python)


def global_state() -> GlobalState:
    """Return the state of the global generators. Cost: some 10 microseconds."""
    on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state() if on_gpu else None
    return GlobalState(torch.get_rng_state(), cuda, _numpy_state(), random.getstate())


_NOTHING: Final[tuple[bytes, dict[str, Any]]] = (b"", {})
_seen = _NOTHING
"""NumPy's generator as it was last read: its memory, and its state."""


def _numpy_state() -> dict[str, Any]:
    """Return np.random.get_state(legacy=False), and the same dict while nobody draws: NumPy takes 20 microseconds to write it out.

    A draw that leaves the generator's memory as it is takes the second of a pair of normal numbers, which is kept elsewhere.
    """
    global _seen
    bits = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if type(bits) is not np.random.MT19937:
        return np.random.get_state(legacy=False)
    memory = ctypes.string_at(bits.ctypes.state_address, MT19937_BYTES)
    if memory != _seen[0] or _seen[1]["has_gauss"]:
        _seen = memory, np.random.get_state(legacy=False)
    return _seen[1]


def _same(own: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two states of NumPy's generator are one."""
    named = operator.itemgetter("bit_generator", "has_gauss", "gauss")
    words, later = own["state"], other["state"]
    return bool(named(own) == named(other) and all(np.array_equal(words[name], later[name]) for name in words))


@contextmanager
def seeded(*key: object) -> Iterator[None]:
    """Let code in the block that draws from global generators draw from streams of the key; put the generators back after it."""
    before, seed = global_state(), seed_of(*key)
    try:
        torch.default_generator.manual_seed(seed)
        if before.cuda is not None:
            torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
    finally:
        before.put_back()

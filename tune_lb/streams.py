"""Random streams: one generator per purpose, derived from what it is for, never from what was drawn before."""

from __future__ import annotations

import hashlib

import torch


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

"""What experiments of the papers have in common: nothing is tuned, blocks are seeds, and nobody's placebo runs beside."""

from __future__ import annotations

from typing import Any

from tune_lb import Arm

UNTUNED: dict[str, Any] = {
    "derived": False,
    "placebo": False,
    "compute_matched": False,
    "fresh_splits": False,
    "block_seeds": 1,
    "crossings": None,
}
"""Fields of a space whose every arm is as published: no search, so no arms that a search is compared with, and only the looks that
are asked for."""


def at_batches(sizes: tuple[int, ...], **settings: Any) -> tuple[Arm, ...]:
    """Return an arm for each batch size, named batch_<size>."""
    return tuple(Arm(f"batch_{size}", batch_size=size, **settings) for size in sizes)


def word(number: float) -> str:
    """Return a number as part of an arm's name: 0.05 is 0p05, 1e-08 is 1em08."""
    return f"{number:g}".replace(".", "p").replace("-", "m")

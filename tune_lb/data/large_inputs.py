"""Inputs that are larger than memory: in one file, which all processes of a machine share, and all splits index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tune_lb.data.cache import key_of, made_once, npy_file
from tune_lb.data.mapped import Array, MappedArray, blocks, opened
from tune_lb.errors import RequestError


def in_files(inputs: Any) -> bool:
    """Say whether inputs are not in memory: mapped, or to be read block by block (shape, dtype, nbytes, key, blocks())."""
    return isinstance(inputs, MappedArray) or hasattr(inputs, "blocks")


def in_one_file(inputs: Any, where: str) -> MappedArray:
    """Return inputs as an array that stays in one file: the one that they are in, or one in the cache.

    Cost: one pass over them, once for a machine. Raises RequestError for values that are not finite, and where the cache has no
    space.
    """
    if isinstance(inputs, MappedArray):
        if np.issubdtype(inputs.dtype, np.floating) and inputs._place is not None:
            key = key_of(inputs._place, "finite", files=[Path(inputs._place[0])])
            # what is kept is that they were looked through
            made_once(key, lambda folder: _check_all(inputs, where), 0, where)
        return inputs

    def make(folder: Path) -> None:
        with npy_file(folder / "all.npy", inputs.shape, inputs.dtype) as file:
            start = 0
            for block in inputs.blocks():
                _check_finite(block, start, where)
                file.write(np.ascontiguousarray(block).data)
                start += len(block)

    return opened(made_once(key_of("whole", str(inputs.key)), make, inputs.nbytes, where) / "all.npy")


def _check_all(inputs: MappedArray, where: str) -> None:
    start = 0
    for block in blocks(inputs):
        _check_finite(block, start, where)
        start += len(block)


def _check_finite(block: Array, start: int, where: str) -> None:
    if np.issubdtype(block.dtype, np.floating):
        bad = np.flatnonzero(~np.isfinite(block).reshape(len(block), -1).all(1))
        if len(bad):
            raise RequestError(
                f"{where}: example {start + bad[0]} has values that are not finite (NaN or infinite): leave such examples out, "
                "or put values in their place"
            )

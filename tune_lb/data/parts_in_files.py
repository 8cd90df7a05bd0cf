"""Parts of data that are larger than memory: cut from their source in one pass, into files that all processes share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from tune_lb.data.cache import key_of, made_once, npy_file
from tune_lb.data.mapped import Array, MappedArray, blocks, opened, rows_of
from tune_lb.errors import RequestError


def in_files(inputs: Any) -> bool:
    """Say whether inputs are not in memory: mapped, or to be read block by block (shape, dtype, nbytes, key, blocks())."""
    return isinstance(inputs, MappedArray) or hasattr(inputs, "blocks")


def cut_into_files(inputs: Any, chosen: Sequence[Array], where: str) -> list[Array]:
    """Return for each sorted index array the rows of the inputs, as an array that stays in a file.

    Cost: one pass over the source, once for a machine. Raises RequestError for values that are not finite, numbered as in the
    source, and where the cache has no space.
    """
    whole = next((i for i, rows in enumerate(chosen) if len(rows) == len(inputs)), None)
    if whole is not None and isinstance(inputs, MappedArray):
        return [rows_of(inputs, 0, len(rows)) for rows in chosen]
    used = sum(map(len, chosen)) * inputs.nbytes // max(1, len(inputs))
    key = key_of("cut", _key(inputs), *(rows.tobytes() for rows in chosen))

    def make(folder: Path) -> None:
        with ExitStack() as stack:
            files = [
                stack.enter_context(npy_file(folder / f"{i}.npy", (len(rows), *inputs.shape[1:]), inputs.dtype))
                for i, rows in enumerate(chosen)
            ]
            start = 0
            for block in inputs.blocks() if hasattr(inputs, "blocks") else blocks(inputs):
                _check_finite(block, start, where)
                for file, rows in zip(files, chosen, strict=True):
                    low, high = np.searchsorted(rows, (start, start + len(block)))
                    file.write(np.ascontiguousarray(block[rows[low:high] - start]).data)
                start += len(block)

    folder = made_once(key, make, used, where)
    return [opened(folder / f"{i}.npy") for i in range(len(chosen))]


def _key(inputs: Any) -> str:
    if isinstance(inputs, MappedArray) and inputs._place is not None:
        return key_of(inputs._place, files=[Path(inputs._place[0])])
    return str(inputs.key)


def _check_finite(block: Array, start: int, where: str) -> None:
    if np.issubdtype(block.dtype, np.floating):
        bad = np.flatnonzero(~np.isfinite(block).reshape(len(block), -1).all(1))
        if len(bad):
            raise RequestError(
                f"{where}: example {start + bad[0]} has values that are not finite (NaN or infinite): leave such examples out, "
                "or put values in their place"
            )

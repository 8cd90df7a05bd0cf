"""The arrays that the tables are computed with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def means_of_known(table: FloatArray) -> FloatArray:
    """Means along the last axis of what is finite; nan where nothing is."""
    there = np.isfinite(table)
    counts = there.sum(axis=-1)
    return np.asarray(np.where(there, table, 0.0).sum(axis=-1) / np.where(counts, counts, np.nan), dtype=np.float64)

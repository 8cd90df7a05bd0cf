"""Divergence: a member has diverged at the first update whose loss is not a number or not finite.

It trains no further than to the end of that stretch, has no loss, and its errors are those of chance (observation/outcome.py).
"""

from __future__ import annotations

import torch
from torch import Tensor


def first_divergence(losses: Tensor) -> int | None:
    """Return the place of the first loss (n,) that is not finite; None where all are."""
    bad = (~torch.isfinite(losses)).nonzero()
    return int(bad[0]) if len(bad) else None

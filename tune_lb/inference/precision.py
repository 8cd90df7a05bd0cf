"""What a design can be expected to tell: half-widths before anything is trained, and the blocks that an effect takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tune_lb.inference.effects import FloatArray, quantile
from tune_lb.inference.selection_variance import FREEDOM

MOST_BLOCKS = 10_000


@dataclass(frozen=True)
class Spread:
    """What the differences of an arm from its reference scatter by; shares of test error (0.01 is one point)."""

    between: float
    """Standard deviation of the true difference between blocks (cuts)."""
    within: float
    """Standard deviation of the difference of one pair of members, with the same seed, within a block."""
    selection: float
    """Standard deviation of one arm's selection, sqrt(V)."""


def spread_of(differences: FloatArray, selection: float = 0.0) -> Spread:
    """Return the spread that paired differences (S, m) show, by analysis of variance; nan below two blocks.

    within^2: pooled variance over seeds (0 with one seed: it is then part of between). between^2: variance of the block means
    less within^2 / m, at least 0. selection: V of an arm.
    """
    num_blocks, num_seeds = differences.shape
    if num_blocks < 2:
        return Spread(float("nan"), float("nan"), math.sqrt(selection))
    within = float(differences.var(axis=1, ddof=1).mean()) if num_seeds > 1 else 0.0
    between = max(0.0, float(differences.mean(axis=1).var(ddof=1)) - within / num_seeds)
    return Spread(math.sqrt(between), math.sqrt(within), math.sqrt(selection))


def expected_half_width(spread: Spread, confirm_blocks: int, block_seeds: int, family: int = 1) -> float:
    """Return the half-width of the procedure's interval to expect: about, for the spread of a run scatters.

    t(1 - .025 / family, f) sqrt((between^2 + within^2 / m) / S + 2 selection^2), S confirm_blocks of m block_seeds, f as in
    `paired_t`, and never less than with selection 0. inf below two blocks. For recipes: a spread with selection 0, family 1.
    """
    if confirm_blocks < 2:
        return math.inf
    return max(quantile(freedom, family) * error for error, freedom in _errors(spread, confirm_blocks, block_seeds))


def blocks_needed(spread: Spread, effect: float, block_seeds: int, family: int = 1, power: float = 0.8) -> int | None:
    """Return the confirm blocks with which an effect of this size is claimed with the given probability.

    The least S with (t(1 - .025 / family, f) + t(power, f)) error <= effect, error as in `expected_half_width`. None
    where no number of blocks does it: the search is what is too uncertain. effect: share, 0.005 for half a point.
    """
    if not effect > 0:
        raise ValueError(f"an effect that can be found is above 0; this is {effect:g}")

    def enough(blocks: int) -> bool:
        return all(
            (quantile(freedom, family) + quantile(freedom, 1, 2 * (1 - power))) * error <= effect
            for error, freedom in _errors(spread, blocks, block_seeds)
        )

    if not enough(MOST_BLOCKS):
        return None
    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _errors(spread: Spread, blocks: int, seeds: int) -> list[tuple[float, float]]:
    """Return standard error and degrees of freedom of the procedure's difference, and of the recipes'."""
    own, selection = (spread.between**2 + spread.within**2 / seeds) / blocks, 2 * spread.selection**2
    total = own + selection
    freedom = total**2 / (own**2 / (blocks - 1) + selection**2 / FREEDOM) if total else blocks - 1
    return [(math.sqrt(total), freedom), (math.sqrt(own), blocks - 1)]
